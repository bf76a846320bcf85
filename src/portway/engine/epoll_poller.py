"""The poller for Linux: one edge-triggered epoll set, nested in the loop by its descriptor."""

import asyncio
import select

from portway.engine.poller import PEER_ENDED, READABLE, URGENT, WRITABLE, CallLater, Wake


class EpollPoller:
    """Reports edges as the kernel does. `poll` is the method of the epoll object itself, so no Python code runs in between."""

    level_poller = None

    def __init__(self) -> None:
        """Create the epoll set; only where `select.epoll` exists."""
        self._epoll = select.epoll()
        self._watched = READABLE | URGENT | WRITABLE | PEER_ENDED | select.EPOLLET
        self._loop: asyncio.AbstractEventLoop | None = None
        self.poll = self._epoll.poll

    def start(self, loop: asyncio.AbstractEventLoop, wake: Wake, _call_later: CallLater) -> None:
        """Wake the reactor while the set is readable, that is, while it has events."""
        self._loop = loop
        loop.add_reader(self._epoll.fileno(), wake)

    def watch(self, fd: int, known: bool) -> None:
        """Watch both directions; after a modification the kernel reports existing readiness again."""
        if known:
            self._epoll.modify(fd, self._watched)
        else:
            self._epoll.register(fd, self._watched)

    def unwatch(self, fd: int) -> None:
        """Remove `fd` from the set."""
        self._epoll.unregister(fd)

    def close(self) -> None:
        """Close the set."""
        if self._loop is not None:
            self._loop.remove_reader(self._epoll.fileno())
        self._epoll.close()
