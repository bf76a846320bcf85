"""Tells people and programs what happened: logs, event lines, status."""
