"""Access rules as pure functions: grants of tokens, login throttling, request pacing."""
