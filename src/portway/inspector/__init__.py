"""Captures the requests of tunnels, stores them without secrets, and serves them to the user: list, search, replay."""
