"""Linux' own poller: one edge-triggered epoll set, nested in the loop by its descriptor."""

import asyncio
import select

from portway.engine.poller import PEER_ENDED, READABLE, URGENT, WRITABLE, CallLater, Wake


class EpollPoller:
    """Tells edges as the kernel does. `poll` is epoll's own method: nothing of ours runs between kernel and reactor."""

    level = None

    def __init__(self) -> None:
        """Make the set; only where `select.epoll` is."""
        self._epoll = select.epoll()
        self._watched = READABLE | URGENT | WRITABLE | PEER_ENDED | select.EPOLLET
        self._loop: asyncio.AbstractEventLoop | None = None
        self.poll = self._epoll.poll

    def start(self, loop: asyncio.AbstractEventLoop, wake: Wake, _call_later: CallLater) -> None:
        """Wake the reactor when the set is readable, which it is while it has events."""
        self._loop = loop
        loop.add_reader(self._epoll.fileno(), wake)

    def watch(self, fd: int, known: bool) -> None:
        """Watch both ways; the kernel tells a descriptor that is modified what is there already."""
        if known:
            self._epoll.modify(fd, self._watched)
        else:
            self._epoll.register(fd, self._watched)

    def unwatch(self, fd: int) -> None:
        """Take `fd` out of the set."""
        self._epoll.unregister(fd)

    def close(self) -> None:
        """Close the set."""
        if self._loop is not None:
            self._loop.remove_reader(self._epoll.fileno())
        self._epoll.close()
