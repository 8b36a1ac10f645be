"""Streaming: messages of topics become rows that fetches can read, each exactly once."""
