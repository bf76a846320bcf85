"""Command line: parses arguments into settings and runs one command."""
