"""Fetching: from keys to answers, by one SQL statement a definition."""
