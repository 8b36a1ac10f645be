"""Fetching: from keys to answers, with one SQL statement for each definition."""
