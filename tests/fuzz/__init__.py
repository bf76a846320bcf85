"""Feeds every parser with hostile input: mutated, structured, and found by coverage if atheris is installed."""
