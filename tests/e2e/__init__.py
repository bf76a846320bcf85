"""Proof through real processes, with real clients."""
