"""The way from a definition to what a store serves: plans, proposals and their publication."""
