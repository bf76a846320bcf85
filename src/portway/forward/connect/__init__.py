"""The second stage of the forward proxy: one module for each way out."""
