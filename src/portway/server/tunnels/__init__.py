"""Leases: which public address belongs to which agent. Pure: no I/O and no clock."""
