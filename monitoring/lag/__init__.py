"""Freshness: how far a store is behind its topics, and the age of its newest facts."""
