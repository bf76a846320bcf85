"""The program beside the origin: it keeps a session with a server and answers visitors from local services."""
