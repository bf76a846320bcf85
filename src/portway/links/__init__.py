"""Encrypted connections between agent and server: dialled, accepted, verified."""
