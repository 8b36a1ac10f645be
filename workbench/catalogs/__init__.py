"""What a store has: its entries, how they are found, and how they are shown."""
