"""Room for thousands of sockets in the test's own process."""

import resource

WANTED = 20_000
"""The largest crowd in one process has 2,000 visitors, each with four ends in it, and a server that keeps room for others."""


def raise_descriptors() -> int:
    """Raise the soft limit as far as the hard one allows, up to WANTED, and return how many there are: WANTED for more.

    A login shell has 1,024 almost everywhere, and `portway` itself raises them too (`portway/cli/descriptors.py`).
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= WANTED:
        return WANTED
    wanted = WANTED if hard == resource.RLIM_INFINITY else min(WANTED, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return wanted
