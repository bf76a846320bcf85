"""The first stage of the forward proxy: one module for each protocol that clients speak."""
