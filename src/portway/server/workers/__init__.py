"""Multi-process mode: a supervisor with listeners and leases, and workers that serve visitors and agents."""
