"""The HTTP service: requests, answers, OpenAPI, metrics and processes."""
