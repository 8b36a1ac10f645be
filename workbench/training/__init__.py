"""Training sets: backfills, dated results, and what proves them."""
