"""The poller for systems without epoll: `selectors` below, edges above."""

import asyncio
import select
import selectors

from portway.engine.poller import BROKEN, HUNG_UP, READABLE, WRITABLE, CallLater, Wake
from portway.engine.select_thread import SelectThread
from portway.engine.timers import Timer

READ = selectors.EVENT_READ
WRITE = selectors.EVENT_WRITE
BOTH = READ | WRITE

LOOK_AFTER_S = 1.0
"""How often descriptors that nobody reads are looked after: so late a paused visitor's reset may be noticed."""

_MASKS = (0, READABLE, WRITABLE, READABLE | WRITABLE)
"""A selector's events (READ 1, WRITE 2) as a mask."""


class PortablePoller:
    """Makes a level-triggered selector (kqueue, select) look edge-triggered.

    What was told is *disarmed* until the channel asks for it again with `want_read` or `want_write`. Taking the interest
    in reading away from the selector costs a system call, so that happens only when the same news comes a second time:
    whoever reads his socket dry, as nearly everybody does, never pays. Interest in writing goes at once, as a socket
    nearly always has room.

    A descriptor without any interest *rests*: its reader is paused. A selector would not tell its reset, so `poll`
    looks at all that rest once a second, where the system has it. (Windows has not: there a paused channel hears of a
    break when it goes on.)
    """

    def __init__(self, selector: selectors.BaseSelector | None = None) -> None:
        """Take the system's best selector, or the given one."""
        self._selector = selectors.DefaultSelector() if selector is None else selector
        self._armed: dict[int, int] = {}
        self._interest: dict[int, int] = {}
        self._resting = _Resting()
        self._found: list[tuple[int, int]] = []
        self._look_timer: Timer | None = None
        self._fd: int | None = None
        self._thread: SelectThread | None = None
        self._loop: asyncio.AbstractEventLoop
        self._call_later: CallLater | None = None

    @property
    def level(self) -> "PortablePoller":
        """Return itself: channels have to say when they ran dry."""
        return self

    def start(self, loop: asyncio.AbstractEventLoop, wake: Wake, call_later: CallLater) -> None:
        """Nest by the selector's descriptor (kqueue), or by a thread where it has none (select)."""
        self._loop = loop
        self._call_later = call_later
        fileno = getattr(self._selector, "fileno", None)
        if fileno is None:
            self._thread = SelectThread(loop, wake, self._selector)
        else:
            self._fd = fileno()
            loop.add_reader(self._fd, wake)

    def poll(self, timeout_s: float, _events_max: int) -> list[tuple[int, int]]:
        """Return what is new to channels.

        All of it: a level that was left out would stand first in line again, and keep the same others waiting.
        """
        told, self._found = self._found, []
        armed_by_fd = self._armed
        for key, events in self._selector.select(timeout_s):
            fd = key.fd
            armed = armed_by_fd[fd]
            news = events & armed
            if news:
                armed_by_fd[fd] = armed & ~news
                told.append((fd, _MASKS[news]))
            unwanted = (events & ~armed) | (news & WRITE)
            if unwanted:
                self._set_interest(fd, key.events & ~unwanted)
                if not key.events & ~unwanted and (broken := self._rest(fd)):
                    told.append((fd, broken))
        return told

    def watch(self, fd: int, known: bool) -> None:
        """Arm both ways; a level tells by itself what is there already."""
        if not known:
            self._interest[fd] = 0
        self._armed[fd] = BOTH
        self._set_interest(fd, BOTH)

    def unwatch(self, fd: int) -> None:
        """Forget `fd`, which must still be open."""
        self._armed.pop(fd, None)
        if self._interest.get(fd):
            self._set_interest(fd, 0)
        self._interest.pop(fd, None)
        self._resting.discard(fd)

    def want_read(self, fd: int) -> None:
        """Arm reading again."""
        self._want(fd, READ)

    def want_write(self, fd: int) -> None:
        """Arm writing again."""
        self._want(fd, WRITE)

    def close(self) -> None:
        """Leave the loop and close the selector."""
        if self._thread is not None:
            self._thread.close()
        if self._fd is not None:
            self._loop.remove_reader(self._fd)
        if self._look_timer is not None:
            self._look_timer.cancel()
        self._call_later = None  # the reactor's, which has this poller
        self._resting.clear()
        self._selector.close()

    def _want(self, fd: int, event: int) -> None:
        armed = self._armed.get(fd)
        if armed is None:
            return
        self._armed[fd] = armed | event
        interest = self._interest[fd]
        if not interest & event:
            self._set_interest(fd, interest | event)

    def _set_interest(self, fd: int, events: int) -> None:
        before = self._interest[fd]
        if events == before:
            return
        self._interest[fd] = events
        if not before:
            self._resting.discard(fd)
            self._selector.register(fd, events)
        elif events:
            self._selector.modify(fd, events)
        else:
            self._selector.unregister(fd)
        if self._thread is not None:
            self._thread.renew()

    def _rest(self, fd: int) -> int:
        """Look after `fd` from now on; return a mask when it is broken already."""
        broken = self._resting.add(fd)
        if self._look_timer is None:
            self._look_later()
        return broken

    def _look(self) -> None:
        """Find the broken among those that rest; the round that this timer belongs to polls next, and tells them."""
        self._look_timer = None
        self._found += self._resting.broken()
        self._look_later()

    def _look_later(self) -> None:
        if self._call_later is not None and self._resting.fds:
            self._look_timer = self._call_later(LOOK_AFTER_S, self._look)


class _Resting:
    """Descriptors of which nothing is wanted, so that only their breaking is news."""

    def __init__(self) -> None:
        self.fds: set[int] = set()
        self._poll = select.poll() if hasattr(select, "poll") else None

    def add(self, fd: int) -> int:
        """Look after `fd`; return a mask instead when it is broken already."""
        if self._poll is None:
            return 0
        alone = select.poll()
        alone.register(fd, 0)
        if found := alone.poll(0):
            return _break_of(found[0][1])
        self._poll.register(fd, 0)
        self.fds.add(fd)
        return 0

    def discard(self, fd: int) -> None:
        """Look after `fd` no longer."""
        if fd in self.fds and self._poll is not None:
            self.fds.discard(fd)
            self._poll.unregister(fd)

    def clear(self) -> None:
        """Forget them all."""
        for fd in list(self.fds):
            self.discard(fd)

    def broken(self) -> list[tuple[int, int]]:
        """Return those that broke, with masks, and look after them no longer: a break is told once."""
        if self._poll is None:
            return []
        found = [(fd, _break_of(events)) for fd, events in self._poll.poll(0)]
        for fd, _ in found:
            self.discard(fd)
        return found


def _break_of(events: int) -> int:
    """Return the mask for what `poll` says without being asked: POLLERR, POLLHUP."""
    return READABLE | HUNG_UP | (BROKEN if events & select.POLLERR else 0)
