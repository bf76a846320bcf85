"""Room for thousands of sockets in the test's own process."""

import resource

WANTED = 8192


def raise_descriptors() -> int:
    """Raise the soft limit as far as the hard one allows, up to WANTED, and return it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = WANTED if hard == resource.RLIM_INFINITY else min(WANTED, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        return wanted
    return WANTED
