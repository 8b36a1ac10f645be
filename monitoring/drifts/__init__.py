"""Drift: distances between distributions, and their size under chance alone."""
