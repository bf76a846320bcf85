"""What the operator sees: console output, status, and counts of frequent events."""
