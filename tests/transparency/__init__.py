"""Compares requests and responses sent directly to real servers with the same ones sent through the edge."""
