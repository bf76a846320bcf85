"""Control plane: agents' links, logins, sessions and claims."""
