"""Lets a program hold as many connections as the system allows it: each takes a descriptor."""

import resource

WANTED = 20_000
"""The 18,000 visitors that an edge takes at most, and the rest of the program. A shell or a service manager gives 1,024
to begin with, for the sake of programs that use select(); nothing here does."""


def raise_limit() -> None:
    """Raise this process's soft limit of descriptors to WANTED, or as far as the hard limit lets it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = WANTED if hard == resource.RLIM_INFINITY else min(WANTED, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        except (OSError, ValueError):
            pass  # a system that allows less than it says; the listeners back off when descriptors run out
