"""Parses HTTP/1.1 strictly, and serialises it in one form only."""
