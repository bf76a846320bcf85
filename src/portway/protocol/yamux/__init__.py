"""yamux: many streams on one connection, in the wire format of hashicorp/yamux."""
