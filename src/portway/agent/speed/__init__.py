"""Measures the way to the server, and says in words what limits it."""
