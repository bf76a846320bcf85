"""Visitors' TLS that ends at the agent (`--terminate agent`): the server relays ciphertext only."""
