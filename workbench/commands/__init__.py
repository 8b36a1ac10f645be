"""The `workbench` command, and the cell magic that notebooks have of it."""
