"""Raises the descriptor limit of the test process, for thousands of sockets."""

import resource

WANTED = 20_000
"""The largest test in one process has 2,000 visitors with four sockets each, and a server that reserves more."""


def raise_descriptors() -> int:
    """Raise the soft limit up to the hard one and to WANTED; return the new limit, at most WANTED.

    A login shell usually has 1,024; `portway` raises its own limit, too (`portway/cli/descriptors.py`).
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= WANTED:
        return WANTED
    wanted = WANTED if hard == resource.RLIM_INFINITY else min(WANTED, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return wanted
