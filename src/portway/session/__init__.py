"""The protocol between one agent and one server, with both halves of each exchange side by side."""
