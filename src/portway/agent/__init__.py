"""The program next to the origin: it keeps a session with a server and connects visitors to local services."""
