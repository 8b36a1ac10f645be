"""Freshness: how far a store is behind its topics, and how old its newest facts are."""
