"""Previews: features of left rows at a point in time, and why each value is what it is."""
