"""Tests of features: a few events, and the values that every path must compute from them."""
