"""Demo of a tunnel: server, agent and sample site on this machine, started by one command."""
