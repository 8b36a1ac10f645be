"""The dashboard: figures of each feature, and the page, the text and the server that show them."""
