"""Codecs and protocol state machines. Pure: no I/O, no clock, no randomness."""
