"""Proposals: checks before publication, changes of values, costs, and the page for them."""
