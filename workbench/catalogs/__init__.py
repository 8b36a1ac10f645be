"""The catalog of a store: its entries, the search for them, and how they are shown."""
