"""Online/offline consistency: served values compared with recomputed ones, and why they differ."""
