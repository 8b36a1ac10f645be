"""Drift: distances between distributions, and how far chance alone would move them."""
