"""Observability: logs, JSON event lines, status socket, CPU times and inspection."""
