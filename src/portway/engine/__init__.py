"""The data plane: a reactor, non-blocking channels, and relays that join two of them."""
