"""Certificates for visitors' TLS: which one serves a name, and where it comes from."""
