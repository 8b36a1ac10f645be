"""From a definition to tables of an engine: by pairs of rows, or by the window kernel."""
