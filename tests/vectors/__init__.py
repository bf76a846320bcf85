"""Golden vectors: the bytes that docs/wire.md describes, for people who write an agent in another language."""
