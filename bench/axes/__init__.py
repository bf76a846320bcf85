"""What is measured: one file an axis."""
