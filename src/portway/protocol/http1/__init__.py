"""Says what the bytes of HTTP/1.1 mean, strictly, and writes them in one form only."""
