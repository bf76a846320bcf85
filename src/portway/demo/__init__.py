"""Shows a tunnel at work: a server, an agent and a sample site on this machine, started by one command."""
