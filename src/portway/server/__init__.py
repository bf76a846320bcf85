"""The server: accepts visitors on a public address and forwards them to agents."""
