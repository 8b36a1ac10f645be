"""Messages of a topic as events: formats, envelopes, schemas, and the way back."""
