"""A listening socket: accepts in the reactor, and continues after every accept error."""

import errno
import logging
import socket
import sys
from collections.abc import Callable

from portway.engine.keepalive import keep_alive
from portway.engine.reactor import Reactor
from portway.engine.socket_channel import RESET_ON_CLOSE, set_close_mode
from portway.engine.timers import Timer

ACCEPTS_A_TURN = 64
"""Accepts per turn, 20 to 30 µs each; further connections wait in the kernel's backlog."""
PAUSE_S = 0.2
"""How long to wait for free descriptors after EMFILE (threats X6: a listener must survive it), and after any error
that does not concern a single connection."""
FAILURES_MAX = ACCEPTS_A_TURN
"""Consecutive errors of single connections before a pause: an endlessly repeated error must not use a whole core."""
LOG_EVERY_S = 10.0
"""Interval between log lines of a listener that cannot accept; one per pause would be five lines per second."""
BACKLOG = 4096
"""Connections that may wait in the kernel, up to net.core.somaxconn. A client that finds the queue full retries after a second."""

RESETS_INHERITED = sys.platform == "linux"
"""Whether accepted sockets inherit the close mode that `listen` sets, which saves a system call for each."""

_NAMES = (
    *("EINTR", "ECONNABORTED", "EPERM"),
    *("ENETDOWN", "EPROTO", "ENOPROTOOPT", "EHOSTDOWN", "ENONET", "EHOSTUNREACH", "EOPNOTSUPP", "ENETUNREACH"),
)
_OF_ONE_CONNECTION = {getattr(errno, name) for name in _NAMES if hasattr(errno, name)}
"""Errors of the connection being accepted; the next one may succeed. The second line lists pending network errors that Linux reports on
the new socket; accept(2), "Error handling": treat them like EAGAIN by retrying. EPERM: a firewall rule forbids this connection. Not
every system defines all of them."""

log = logging.getLogger("portway.engine")

Address = tuple[str, int]
"""Numeric host and port."""


def listen(host: str, port: int) -> socket.socket:
    """Return a listening TCP socket whose connections inherit TCP_NODELAY, keep-alive and a reset on close.

    Raises:
        OSError: the address is in use, not local, or not permitted.
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
    """Ignore a connection: the callback of a closed listener."""


class Listener:
    """Accepts connections and passes each non-blocking socket with its peer's address to `on_accept`."""

    def __init__(self, reactor: Reactor, sock: socket.socket, on_accept: OnAccept) -> None:
        """Accept on `sock` (see `listen`) from the next batch on."""
        self._reactor = reactor
        self._sock = sock
        self._on_accept = on_accept
        self._kind = (int(sock.family), int(sock.type), sock.proto)
        self._address: Address = sock.getsockname()[:2]
        self._pause: Timer | None = None
        self._queued = False
        self._closed = False
        self._failures = 0
        """Consecutive errors."""
        self._log_at = 0.0
        """Time from which the next error may be logged."""
        self._unlogged = 0
        sock.setblocking(False)
        reactor.watch(sock.fileno(), self._on_events)

    @property
    def address(self) -> Address:
        """The listening address, with the assigned port if 0 was requested."""
        return self._address

    def close(self) -> None:
        """Stop listening; connections in the kernel's backlog are reset, unless another process has the socket, too."""
        if not self._closed:
            self._closed = True
            self._on_accept = _ignore  # it usually refers back to this listener
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
                # This is what `accept` calls; that looks up the enumerations of family and type for each connection, 2 µs.
                fd, address = self._sock._accept()  # type: ignore[attr-defined]  # noqa: SLF001
            except BlockingIOError:
                if self._reactor.level_poller is not None:
                    self._reactor.level_poller.want_read(self._sock.fileno())
                return
            except OSError as exc:
                self._failures += 1
                if exc.errno in _OF_ONE_CONNECTION and self._failures < FAILURES_MAX:
                    continue
                self._wait_after(exc)
                return
            self._failures = 0
            sock = socket.socket(*self._kind, fileno=fd)
            try:
                sock.setblocking(False)
                self._on_accept(sock, address[:2])
            except Exception:
                # A bug that concerns one visitor: continue, because no further edge is reported for the others in the backlog.
                log.exception("visitor accept failed: %r", self._on_accept)
                self._reactor.discard(sock)
        self._queued = True
        self._reactor.call_soon(self._accept_some)

    def _wait_after(self, error: OSError) -> None:
        """Retry a moment later, whatever went wrong: the edge for connections in the backlog is reported only once."""
        self._failures = 0
        self._pause = self._reactor.call_later(PAUSE_S, self._resume)
        now = self._reactor.now
        if now < self._log_at:
            self._unlogged += 1
            return
        host, port = self._address
        more = f", {self._unlogged} more since the last message" if self._unlogged else ""
        log.warning("accept on %s port %s failed: %s%s; next attempt in %.1f s", host, port, error.strerror or error, more, PAUSE_S)
        self._log_at = now + LOG_EVERY_S
        self._unlogged = 0
