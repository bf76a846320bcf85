"""Attacks on a running server, each measured by its effect on an innocent client."""
