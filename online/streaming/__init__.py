"""Streaming: from a topic's messages to servable rows, exactly once."""
