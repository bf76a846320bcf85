"""The visitor side of the HTTP edge: the connection, its request heads, and how it closes."""
