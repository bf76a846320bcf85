"""Proof of the mux, against itself, against noise and against other implementations."""
