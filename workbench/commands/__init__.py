"""The `workbench` command, and what notebooks have of it."""
