"""The forward proxy: negotiates a target with a client, connects to it, and relays."""
