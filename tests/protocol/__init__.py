"""Proof of the codecs: any cut, round trip, noise."""
