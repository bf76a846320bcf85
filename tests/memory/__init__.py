"""Memory is freed by close, not by the cycle collector, and no table only grows."""
