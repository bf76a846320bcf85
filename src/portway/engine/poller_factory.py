"""Chooses the poller of a reactor: epoll if available, unless the environment requests the portable one."""

import select

from portway.engine.epoll_poller import EpollPoller
from portway.engine.poller import Poller
from portway.engine.portable_poller import PortablePoller
from portway.errors import ConfigError

VARIABLE = "PORTWAY_ENGINE"
EPOLL, PORTABLE = "epoll", "portable"


def make_poller(name: str = "") -> Poller:
    """Return the poller called `name`; the best one of the system if it is empty.

    Raises:
        ConfigError: the poller is unknown, or not available on this system.
    """
    has_epoll = hasattr(select, "epoll")
    if name == PORTABLE or (not name and not has_epoll):
        return PortablePoller()
    if name not in ("", EPOLL):
        raise ConfigError(f"{VARIABLE}: unknown engine {name!r}: expected {EPOLL!r} or {PORTABLE!r}, or leave it unset")
    if not has_epoll:
        raise ConfigError(f"{VARIABLE}: epoll is not available on this system: expected {PORTABLE!r}, or leave it unset")
    return EpollPoller()
