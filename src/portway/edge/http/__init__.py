"""Serves HTTP/1.1 visitors: each request goes to the origin that its host names."""
