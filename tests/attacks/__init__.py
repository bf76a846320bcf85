"""Attacks on a running server, each measured by what an innocent client beside it notices."""
