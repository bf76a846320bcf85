"""The conversation of one agent and one server, both halves of each part side by side."""
