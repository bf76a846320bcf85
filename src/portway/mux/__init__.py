"""yamux sessions on a channel: every stream is a channel again."""
