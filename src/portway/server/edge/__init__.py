"""Listeners for visitors, each bringing them to their tunnel."""
