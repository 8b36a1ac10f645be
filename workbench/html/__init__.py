"""HTML of outputs: elements, the stylesheet, and drawings of definitions."""
