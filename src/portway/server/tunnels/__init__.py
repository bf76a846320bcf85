"""Decides which public address belongs to which agent, without I/O and without a clock."""
