"""Connects sockets in the reactor, without a coroutine."""

import errno
import os
import socket
from collections.abc import Callable
from functools import partial

from portway.engine.keepalive import keep_alive
from portway.engine.poller import GONE, WRITABLE
from portway.engine.reactor import Reactor
from portway.engine.timers import Timer

SocketAddress = tuple[str, int] | str
"""Argument of `socket.connect`: numeric host and port, or the path of a unix socket."""

Done = Callable[[socket.socket | OSError], None]

_STREAM = socket.SOCK_STREAM | getattr(socket, "SOCK_NONBLOCK", 0)
"""Created non-blocking where the system supports it, which saves a system call."""

_UNDER_WAY = {errno.EINPROGRESS, getattr(errno, "WSAEWOULDBLOCK", errno.EINPROGRESS)}
"""Codes of a connect that has started; Windows has its own. (EAGAIN on others: the backlog of a unix listener is full.)"""


def _ignore(_outcome: socket.socket | OSError) -> None:
    """Ignore the outcome of a cancelled attempt."""


class Attempt:
    """A pending connect; calls back once, with a connected socket or an error."""

    __slots__ = ("_on_done", "_reactor", "_sock", "_timer")

    def __init__(self, reactor: Reactor, sock: socket.socket, timeout_s: float | None, on_done: Done) -> None:
        """Wait for `sock`, which is already connecting."""
        self._reactor = reactor
        self._sock: socket.socket | None = sock
        self._on_done = on_done
        self._timer: Timer | None = None if timeout_s is None else reactor.call_later(timeout_s, self._time_out)
        reactor.watch(sock.fileno(), self._on_events)

    def cancel(self) -> None:
        """Stop without calling back, and drop the callback, which usually refers back to this attempt."""
        self._on_done = _ignore
        sock = self._take()
        if sock is not None:
            self._reactor.discard(sock)

    def abort(self) -> None:
        """Cancel; called by the reactor after a failed callback."""
        self.cancel()

    def _take(self) -> socket.socket | None:
        sock, self._sock = self._sock, None
        if self._timer is not None:
            self._timer.cancel()
        return sock

    def _on_events(self, mask: int) -> None:
        sock = self._take()
        if sock is None:
            return
        # An edge-triggered poller reports a failure in the mask; with a level-triggered one the socket has to be asked.
        sure = mask & WRITABLE and not mask & GONE and self._reactor.level_poller is None
        code = 0 if sure else sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            self._reactor.discard(sock)
            self._on_done(OSError(code, os.strerror(code)))
        elif mask == WRITABLE and sure:
            self._reactor.pass_on(sock.fileno(), partial(self._on_done, sock))
        else:
            self._on_done(sock)

    def _time_out(self) -> None:
        sock = self._take()
        if sock is not None:
            self._reactor.discard(sock)
            self._on_done(OSError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT)))


def connect(reactor: Reactor, family: int, address: SocketAddress, timeout_s: float | None, on_done: Done) -> Attempt | None:
    """Connect to a numeric address or a unix path; `on_done` gets the socket or an OSError, always from the reactor.

    Without `timeout_s` the caller needs its own deadline. The socket is non-blocking, with TCP_NODELAY and keep-alive, and still
    watched: pass it to a channel. Returns None when the connect failed at once (the callback is queued then).
    """
    try:
        sock = socket.socket(family, _STREAM)
    except OSError as exc:
        _fail_soon(reactor, exc, on_done)
        return None
    if sock.gettimeout() != 0:
        sock.setblocking(False)
    try:
        if family in (socket.AF_INET, socket.AF_INET6):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            keep_alive(sock)
        code = sock.connect_ex(address)
    except OSError as exc:  # a bad path or address
        sock.close()
        _fail_soon(reactor, exc, on_done)
        return None
    if code and code not in _UNDER_WAY:
        sock.close()
        _fail_soon(reactor, OSError(code, os.strerror(code)), on_done)
        return None
    return Attempt(reactor, sock, timeout_s, on_done)


def _fail_soon(reactor: Reactor, error: OSError, on_done: Done) -> None:
    reactor.call_soon(lambda: on_done(error))
