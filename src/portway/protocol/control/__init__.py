"""The messages of the control stream between agent and server."""
