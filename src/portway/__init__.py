"""A self-hosted way to your port: a server, an agent, and the relay engine between them."""

__version__ = "0.1.0"
