"""Draws a run: one SVG of horizontal bars, and a PNG of it."""
