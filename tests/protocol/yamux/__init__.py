"""Proof of the yamux frames and of the pure session."""
