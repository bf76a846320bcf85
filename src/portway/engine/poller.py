"""The interface of pollers, and the event bits that pollers and channels share."""

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
"""Bits of an event mask, with the values of epoll (EPOLLIN, PRI, OUT, ERR, HUP, RDHUP): events of epoll need no translation, and the
names exist where the `select` module has no epoll."""

GONE = PEER_ENDED | HUNG_UP | BROKEN
"""The peer has ended or broken the connection: everything is read to the end from then on."""
MAY_WRITE = WRITABLE | HUNG_UP | BROKEN
"""Reasons to try to send again, if only to get the error."""

Wake = Callable[[], None]
CallLater = Callable[[float, Callable[[], None]], Timer]


class Poller(Protocol):
    """Reports descriptors with events, each event once: edge-triggered, natively or by emulation."""

    @property
    def level_poller(self) -> "LevelPoller | None":
        """Receives notice when channels are drained or blocked; None where the system reports edges."""

    def start(self, loop: asyncio.AbstractEventLoop, wake: Wake, call_later: CallLater) -> None:
        """Nest in `loop`: `wake` is called on its thread whenever `poll` may return events."""

    def poll(self, timeout_s: float, events_max: int, /) -> list[tuple[int, int]]:
        """Return descriptors with events, and their masks; the reactor passes a timeout of 0 s."""

    def watch(self, fd: int, known: bool) -> None:
        """Report the readiness of `fd`, then new events; `known` when it is already watched."""

    def unwatch(self, fd: int) -> None:
        """Stop reporting `fd`, which is still open."""

    def close(self) -> None:
        """Detach from the loop and release all resources."""


class LevelPoller(Protocol):
    """Notice from channels to a level-triggered poller, which cannot detect by itself that an event was handled."""

    def want_read(self, fd: int) -> None:
        """Report bytes again: the channel has read what was available."""

    def want_write(self, fd: int) -> None:
        """Report room again: a send was accepted only in part."""

    def unwatch(self, fd: int) -> None:
        """Remove `fd` before it is closed."""
