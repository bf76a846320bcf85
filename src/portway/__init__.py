"""Self-hosted tunnels: a server, an agent, and the relay engine between them."""

__version__ = "0.1.0"
