"""Raises the limit of open files for this process and its children, as far as this user may."""

import resource

FILES_WANTED = 65_536


def raise_open_files() -> int:
    """Raise the soft limit within the hard one; return the new soft limit."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    soft = FILES_WANTED if hard == resource.RLIM_INFINITY else min(hard, FILES_WANTED)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return soft
