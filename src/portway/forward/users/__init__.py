"""The users of a proxy: their passwords and limits."""
