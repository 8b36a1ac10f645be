"""Expressions rewritten so that they mean one thing on every engine."""
