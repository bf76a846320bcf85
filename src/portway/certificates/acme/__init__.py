"""Certificates from a CA by ACME (RFC 8555): ordered for names of live tunnels, renewed in time, saved in the data directory."""
