"""Files in the server's data directory: tokens in SQLite, and reading them without delaying the event loop."""
