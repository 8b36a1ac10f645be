"""Watching: drift, freshness, and online/offline consistency."""
