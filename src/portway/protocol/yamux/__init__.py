"""yamux: many streams on one connection, as hashicorp/yamux writes it on the wire."""
