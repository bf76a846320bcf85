"""Every parser fed with what nobody would send: mutated, structured, and found by coverage where atheris is installed."""
