"""Which poller a reactor gets: epoll where there is one, unless the environment asks for the portable one."""

import select

from portway.engine.epoll_poller import EpollPoller
from portway.engine.poller import Poller
from portway.engine.portable_poller import PortablePoller
from portway.errors import ConfigError

VARIABLE = "PORTWAY_ENGINE"
EPOLL, PORTABLE = "epoll", "portable"


def make_poller(wish: str = "") -> Poller:
    """Return the poller called `wish`; the system's best for an empty one.

    Raises:
        ConfigError: there is no such poller, or not on this system.
    """
    has_epoll = hasattr(select, "epoll")
    if wish == PORTABLE or (not wish and not has_epoll):
        return PortablePoller()
    if wish not in ("", EPOLL):
        raise ConfigError(f"{VARIABLE}: {wish!r} is no engine; expected {EPOLL!r} or {PORTABLE!r}, or leave it unset")
    if not has_epoll:
        raise ConfigError(f"{VARIABLE}: this system has no epoll; expected {PORTABLE!r}, or leave it unset")
    return EpollPoller()
