"""Proof of the data plane."""
