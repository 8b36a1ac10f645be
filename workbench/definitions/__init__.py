"""Definitions: sources, group-bys, joins, windows, reductions and topics."""
