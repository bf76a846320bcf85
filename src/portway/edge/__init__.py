"""Data plane: accepts visitors and connects them to their tunnels."""
