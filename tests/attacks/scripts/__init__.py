"""The attacks, by where they come in."""
