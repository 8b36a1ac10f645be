"""The dashboard: what is shown of each feature, and the page, the text and the server that show it."""
