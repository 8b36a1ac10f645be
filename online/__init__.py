"""Serving: the online store, the fetcher and the updater."""
