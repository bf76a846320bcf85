"""Proof of dialling, accepting and verifying links: real sockets, real TLS, strangers of every kind."""
