"""One request and its response: heads and bodies between a visitor and an origin."""
