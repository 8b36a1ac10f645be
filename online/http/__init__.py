"""The HTTP service: its routes, limits, JSON, OpenAPI document, metrics and processes."""
