"""Origins without a port: folders and fixed responses."""
