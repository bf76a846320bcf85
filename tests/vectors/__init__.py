"""Golden vectors: the bytes described in docs/wire.md, for developers of agents in other languages."""
