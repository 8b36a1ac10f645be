"""Tests of features: a few events, the values that must come of them, on every path."""
