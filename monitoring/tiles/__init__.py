"""Tiles: counts of served and trained values by feature and span of time, and their storage."""
