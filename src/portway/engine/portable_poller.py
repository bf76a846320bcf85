"""The poller for systems without epoll: emulates edge triggering on top of `selectors` (ADR 0009)."""

import asyncio
import select
import selectors

from portway.engine.poller import BROKEN, HUNG_UP, READABLE, WRITABLE, CallLater, Wake
from portway.engine.select_thread import SelectThread
from portway.engine.timers import Timer

READ = selectors.EVENT_READ
WRITE = selectors.EVENT_WRITE
BOTH = READ | WRITE

IDLE_CHECK_S = 1.0
"""Interval of checks for descriptors that are not read: the reset of a paused visitor is noticed at most this late."""

_MASKS = (0, READABLE, WRITABLE, READABLE | WRITABLE)
"""The mask for each combination of selector events (READ 1, WRITE 2)."""


class PortablePoller:
    """Emulates edge triggering with a level-triggered selector (kqueue, select).

    A reported event is *disarmed* until the channel re-arms it with `want_read` or `want_write`. Removing the read interest
    from the selector costs a system call, so that happens only when the same event is reported again: a channel that
    drains its socket, as nearly all do, never pays for it. Write interest is removed at once, because a socket
    nearly always has room.

    A descriptor without any interest is *idle*: its reader is paused. A selector does not report its reset, so all idle
    descriptors are checked once a second with `select.poll`, where available. (Windows has none: there a paused channel
    notices a break when it resumes.)
    """

    def __init__(self, selector: selectors.BaseSelector | None = None) -> None:
        """Use the given selector, or the best one of the system."""
        self._selector = selectors.DefaultSelector() if selector is None else selector
        self._armed: dict[int, int] = {}
        self._interest: dict[int, int] = {}
        self._idle = _IdleDescriptors()
        self._found: list[tuple[int, int]] = []
        self._idle_timer: Timer | None = None
        self._fd: int | None = None
        self._thread: SelectThread | None = None
        self._loop: asyncio.AbstractEventLoop
        self._call_later: CallLater | None = None

    @property
    def level_poller(self) -> "PortablePoller":
        """Return itself: channels have to report that they are drained."""
        return self

    def start(self, loop: asyncio.AbstractEventLoop, wake: Wake, call_later: CallLater) -> None:
        """Nest with the selector's descriptor (kqueue), or with a thread if it has none (select)."""
        self._loop = loop
        self._call_later = call_later
        fileno = getattr(self._selector, "fileno", None)
        if fileno is None:
            self._thread = SelectThread(loop, wake, self._selector)
        else:
            self._fd = fileno()
            loop.add_reader(self._fd, wake)

    def poll(self, timeout_s: float, _events_max: int) -> list[tuple[int, int]]:
        """Return the new events.

        All of them: the selector would report an omitted event first again, and the same others would keep waiting.
        """
        new_events, self._found = self._found, []
        armed_by_fd = self._armed
        for key, events in self._selector.select(timeout_s):
            fd = key.fd
            armed = armed_by_fd[fd]
            fresh = events & armed
            if fresh:
                armed_by_fd[fd] = armed & ~fresh
                new_events.append((fd, _MASKS[fresh]))
            unwanted = (events & ~armed) | (fresh & WRITE)
            if unwanted:
                self._set_interest(fd, key.events & ~unwanted)
                if not key.events & ~unwanted and (broken := self._add_idle(fd)):
                    new_events.append((fd, broken))
        return new_events

    def watch(self, fd: int, known: bool) -> None:
        """Arm both directions; a level-triggered selector reports existing readiness."""
        if not known:
            self._interest[fd] = 0
        self._armed[fd] = BOTH
        self._set_interest(fd, BOTH)

    def unwatch(self, fd: int) -> None:
        """Remove `fd`, which must still be open."""
        self._armed.pop(fd, None)
        if self._interest.get(fd):
            self._set_interest(fd, 0)
        self._interest.pop(fd, None)
        self._idle.discard(fd)

    def want_read(self, fd: int) -> None:
        """Re-arm reading."""
        self._want(fd, READ)

    def want_write(self, fd: int) -> None:
        """Re-arm writing."""
        self._want(fd, WRITE)

    def close(self) -> None:
        """Detach from the loop and close the selector."""
        if self._thread is not None:
            self._thread.close()
        if self._fd is not None:
            self._loop.remove_reader(self._fd)
        if self._idle_timer is not None:
            self._idle_timer.cancel()
        self._call_later = None  # it refers to the reactor, which refers to this poller
        self._idle.clear()
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
            self._idle.discard(fd)
            self._selector.register(fd, events)
        elif events:
            self._selector.modify(fd, events)
        else:
            self._selector.unregister(fd)
        if self._thread is not None:
            self._thread.update()

    def _add_idle(self, fd: int) -> int:
        """Check `fd` periodically from now on; return a mask if it is already broken."""
        broken = self._idle.add(fd)
        if self._idle_timer is None:
            self._check_idle_later()
        return broken

    def _check_idle(self) -> None:
        """Find broken idle descriptors; the reactor polls right after its timers, and gets them from `poll`."""
        self._idle_timer = None
        self._found += self._idle.broken()
        self._check_idle_later()

    def _check_idle_later(self) -> None:
        if self._call_later is not None and self._idle.fds:
            self._idle_timer = self._call_later(IDLE_CHECK_S, self._check_idle)


class _IdleDescriptors:
    """Descriptors without any interest, which are only checked for breaks."""

    def __init__(self) -> None:
        self.fds: set[int] = set()
        self._poll = select.poll() if hasattr(select, "poll") else None

    def add(self, fd: int) -> int:
        """Add `fd`; if it is already broken, return a mask instead."""
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
        """Remove `fd`."""
        if fd in self.fds and self._poll is not None:
            self.fds.discard(fd)
            self._poll.unregister(fd)

    def clear(self) -> None:
        """Remove all."""
        for fd in list(self.fds):
            self.discard(fd)

    def broken(self) -> list[tuple[int, int]]:
        """Remove and return the broken ones, with masks; each break is reported once."""
        if self._poll is None:
            return []
        found = [(fd, _break_of(events)) for fd, events in self._poll.poll(0)]
        for fd, _ in found:
            self.discard(fd)
        return found


def _break_of(events: int) -> int:
    """Return the mask for events that `poll` always reports: POLLERR, POLLHUP."""
    return READABLE | HUNG_UP | (BROKEN if events & select.POLLERR else 0)
