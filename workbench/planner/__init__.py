"""Plans that compute a definition's tables on an engine: by pairs of rows, or by the kernel."""
