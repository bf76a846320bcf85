"""Raises the limit of file descriptors: each connection takes one."""

import resource

DESCRIPTORS_WANTED = 20_000
"""At most 18,000 visitors of an edge, and the rest of the program. Shells and service managers set 1,024 by default, for
programs that use select(), which Portway never does."""


def raise_limit() -> None:
    """Raise this process's soft limit of descriptors to DESCRIPTORS_WANTED, or to the hard limit if that is lower."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = DESCRIPTORS_WANTED if hard == resource.RLIM_INFINITY else min(DESCRIPTORS_WANTED, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        except (OSError, ValueError):
            pass  # some systems allow less than their hard limit; listeners back off when descriptors run out
