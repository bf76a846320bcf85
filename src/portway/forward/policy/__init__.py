"""Decides which targets a proxy may connect to: patterns, host lists, networks and special addresses."""
