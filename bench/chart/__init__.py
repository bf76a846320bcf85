"""Charts of a run: one SVG with horizontal bars, and the same as PNG."""
