"""Decoding a topic's messages into events: formats, envelopes, schemas, and the inverse."""
