"""A listening socket: accepts in the reactor, and goes on after every error of accept."""

import errno
import logging
import socket
import sys
from collections.abc import Callable

from portway.engine.keepalive import keep_alive
from portway.engine.reactor import Reactor
from portway.engine.socket_channel import RESET_ON_CLOSE, set_close_mode
from portway.engine.timers import Timer

ACCEPTS_A_TURN = 32
"""Accepts before others get their turn, 20 to 30 µs each; the rest waits in the kernel's backlog."""
PAUSE_S = 0.2
"""How long to wait for descriptors to come free after EMFILE (threats X6: a listener must survive it), and after any error
that says nothing about a single connection."""
FAILURES_MAX = ACCEPTS_A_TURN
"""Errors of single connections in a row before a pause: one that repeats without end must not take the whole core."""
LOG_EVERY_S = 10.0
"""How often a listener that cannot accept says so; every pause would be five lines a second for as long as it lasts."""
BACKLOG = 1024
"""Connections that the kernel may hold for us; a burst of that size is accepted in a few milliseconds."""

RESETS_INHERITED = sys.platform == "linux"
"""Whether what `listen` sets for the case of close is known to be so for accepted connections, too: a call less for each."""

_NAMES = (
    *("EINTR", "ECONNABORTED", "EPERM"),
    *("ENETDOWN", "EPROTO", "ENOPROTOOPT", "EHOSTDOWN", "ENONET", "EHOSTUNREACH", "EOPNOTSUPP", "ENETUNREACH"),
)
_OF_ONE_CONNECTION = {getattr(errno, name) for name in _NAMES if hasattr(errno, name)}
"""The error belongs to the connection that was to be accepted, and the next one may be fine. Those of the second line are
pending network errors that Linux reports on the new socket; accept(2), "Error handling": treat them like EAGAIN by retrying.
EPERM: a firewall rule forbids this one connection. Not every system has all of them."""

log = logging.getLogger("portway.engine")

Address = tuple[str, int]
"""Numeric host and port."""


def listen(host: str, port: int) -> socket.socket:
    """Return a listening TCP socket whose connections get TCP_NODELAY, keep-alive and a reset on close from it.

    Raises:
        OSError: the address is in use, not ours, or not permitted.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        keep_alive(sock)
        set_close_mode(sock, RESET_ON_CLOSE)
        sock.setblocking(False)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)  # `::` is IPv4 too, whatever the system's default
        sock.bind((host, port))
        sock.listen(BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock


OnAccept = Callable[[socket.socket, Address], None]
"""Takes an accepted, non-blocking socket and its peer's address."""


def _ignore(_sock: socket.socket, _address: Address) -> None:
    """Stand in for whoever takes nobody any more."""


class Listener:
    """Hands every accepted, non-blocking socket and its peer's address to `on_accept`."""

    def __init__(self, reactor: Reactor, sock: socket.socket, on_accept: OnAccept) -> None:
        """Accept on `sock` (see `listen`) from the next batch on."""
        self._reactor = reactor
        self._sock = sock
        self._on_accept = on_accept
        self._address: Address = sock.getsockname()[:2]
        self._pause: Timer | None = None
        self._queued = False
        self._closed = False
        self._failures = 0
        """Errors in a row."""
        self._log_at = 0.0
        """When the next error may be logged."""
        self._unlogged = 0
        sock.setblocking(False)
        reactor.watch(sock.fileno(), self._on_events)

    @property
    def address(self) -> Address:
        """The address that is listened on, with the real port where 0 was asked for."""
        return self._address

    def close(self) -> None:
        """Stop listening; connections in the kernel's backlog are reset, unless another process has the socket, too."""
        if not self._closed:
            self._closed = True
            self._on_accept = _ignore  # it has this listener, as a rule
            if self._pause is not None:
                self._pause.cancel()
            self._reactor.unwatch(self._sock.fileno())  # another process's copy would keep it in the poller
            self._reactor.discard(self._sock)

    def _on_events(self, _mask: int) -> None:
        if self._pause is None and not self._queued:
            self._accept_some()

    def _resume(self) -> None:
        self._pause = None
        self._queued = False
        self._accept_some()

    def _accept_some(self) -> None:
        self._queued = False
        for _ in range(ACCEPTS_A_TURN):
            if self._closed:
                return
            try:
                sock, address = self._sock.accept()
            except BlockingIOError:
                if self._reactor.level is not None:
                    self._reactor.level.want_read(self._sock.fileno())
                return
            except OSError as exc:
                self._failures += 1
                if exc.errno in _OF_ONE_CONNECTION and self._failures < FAILURES_MAX:
                    continue
                self._wait_after(exc)
                return
            self._failures = 0
            try:
                sock.setblocking(False)
                self._on_accept(sock, address[:2])
            except Exception:
                # A bug met by one visitor: the edge for the others behind him will not come again.
                log.exception("a visitor could not be taken in: %r", self._on_accept)
                self._reactor.discard(sock)
        self._queued = True
        self._reactor.call_soon(self._accept_some)

    def _wait_after(self, error: OSError) -> None:
        """Try again a moment later, whatever went wrong: the edge that was told for what waits in the backlog comes only once."""
        self._failures = 0
        self._pause = self._reactor.call_later(PAUSE_S, self._resume)
        now = self._reactor.now
        if now < self._log_at:
            self._unlogged += 1
            return
        host, port = self._address
        more = f", {self._unlogged} times more since the last message" if self._unlogged else ""
        log.warning("accept on %s port %s failed: %s%s; next attempt in %.1f s", host, port, error.strerror or error, more, PAUSE_S)
        self._log_at = now + LOG_EVERY_S
        self._unlogged = 0
