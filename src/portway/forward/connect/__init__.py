"""The second stage of the forward proxy: one module per connector."""
