"""The program with the public address: it takes visitors in and hands each one to the agent that owns the route."""
