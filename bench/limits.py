"""Raises the limit of open files as far as this user may, for us and for all that we start."""

import resource

FILES_WANTED = 65_536


def raise_open_files() -> int:
    """Raise the soft limit within the hard one; returns what it is now."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    soft = FILES_WANTED if hard == resource.RLIM_INFINITY else min(hard, FILES_WANTED)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return soft
