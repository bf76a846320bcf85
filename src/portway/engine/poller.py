"""What a reactor asks of a poller, and the words that pollers and channels share for readiness."""

import asyncio
from collections.abc import Callable
from typing import Protocol

from portway.engine.timers import Timer

READABLE = 0x001
URGENT = 0x002
WRITABLE = 0x004
BROKEN = 0x008
HUNG_UP = 0x010
PEER_ENDED = 0x2000
"""Bits of an event's mask: the numbers that epoll has for them (EPOLLIN, PRI, OUT, ERR, HUP, RDHUP), so that nothing is
translated where it comes from epoll, and there to import where the `select` module has no epoll."""

GONE = PEER_ENDED | HUNG_UP | BROKEN
"""What the peer does once: after that, everything is read to its end."""
MAY_WRITE = WRITABLE | HUNG_UP | BROKEN
"""A reason to try to send again, be it only to hear why not."""

Wake = Callable[[], None]
CallLater = Callable[[float, Callable[[], None]], Timer]


class Poller(Protocol):
    """Tells a reactor which descriptors have news, each piece of news once: edge-triggered, or made to look so."""

    @property
    def level(self) -> "LevelPoller | None":
        """What channels must tell of running dry and of blocking; None where the system sees edges by itself."""

    def start(self, loop: asyncio.AbstractEventLoop, wake: Wake, call_later: CallLater) -> None:
        """Nest in `loop`: `wake` is called on its thread whenever `poll` may have news."""

    def poll(self, timeout_s: float, events_max: int, /) -> list[tuple[int, int]]:
        """Return descriptors and masks that have news; the reactor never waits here (0 s)."""

    def watch(self, fd: int, known: bool) -> None:
        """Tell what is there on `fd`, and from then on what is new; `known` when it is watched already."""

    def unwatch(self, fd: int) -> None:
        """Tell nothing more of `fd`, which is still open."""

    def close(self) -> None:
        """Leave the loop and give back what the poller holds."""


class LevelPoller(Protocol):
    """What a channel says to a level-triggered poller, which cannot know by itself when news has been used up."""

    def want_read(self, fd: int) -> None:
        """Tell of bytes again: those that were there have been read."""

    def want_write(self, fd: int) -> None:
        """Tell of room again: a send was not taken whole."""

    def unwatch(self, fd: int) -> None:
        """Forget `fd` before it is closed."""
