"""HTML of outputs: elements, the stylesheet, the drawing of a definition."""
