"""A listening socket: accepts in the reactor and backs off when descriptors run out."""

import errno
import logging
import socket
import sys
from collections.abc import Callable

from portway.engine.reactor import Reactor
from portway.engine.socket_channel import RESET_ON_CLOSE, on_last_close
from portway.engine.timers import Timer

ACCEPTS_A_TURN = 64
"""Accepts before others get their turn; the rest waits in the kernel's backlog."""
PAUSE_S = 0.2
"""How long to wait for descriptors to come free after EMFILE (threats X6: a listener must survive it)."""
BACKLOG = 1024
"""Connections that the kernel may hold for us; a burst of that size is accepted in a few milliseconds."""

KEEPALIVE = {"TCP_KEEPIDLE": 120, "TCP_KEEPINTVL": 30, "TCP_KEEPCNT": 4}
"""Quiet seconds before the kernel asks whether the peer is still there, seconds between, and questions. Four minutes in
all, instead of over two hours: a peer that closed, or vanished, while its half-closed relay waits for an origin that
never ends says nothing more by itself, and would keep its descriptor for as long."""

RESETS_INHERITED = sys.platform == "linux"
"""Whether what `listen` sets for the case of close is known to be so for accepted connections, too: a call less for each."""

_EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
_PEER_LEFT = {errno.ECONNABORTED, errno.EINTR, errno.EPROTO, errno.EPERM}

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
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        on_last_close(sock, RESET_ON_CLOSE)
        for option, value in KEEPALIVE.items():
            if hasattr(socket, option):  # not every system lets a program choose
                sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
        sock.setblocking(False)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)  # `::` is IPv4 too, whatever the system's default
        sock.bind((host, port))
        sock.listen(BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock


class Listener:
    """Hands every accepted, non-blocking socket and its peer's address to `on_accept`."""

    def __init__(self, reactor: Reactor, sock: socket.socket, on_accept: Callable[[socket.socket, Address], None]) -> None:
        """Accept on `sock` (see `listen`) from the next batch on."""
        self._reactor = reactor
        self._sock = sock
        self._on_accept = on_accept
        self._pause: Timer | None = None
        self._queued = False
        self._closed = False
        sock.setblocking(False)
        reactor.watch(sock.fileno(), self._on_events)

    @property
    def address(self) -> Address:
        """The address that is listened on, with the real port where 0 was asked for."""
        host, port = self._sock.getsockname()[:2]
        return host, port

    def close(self) -> None:
        """Stop listening; connections in the kernel's backlog are reset, unless another process has the socket, too."""
        if not self._closed:
            self._closed = True
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
                if exc.errno in _PEER_LEFT:
                    continue
                if exc.errno not in _EXHAUSTED:
                    raise
                log.warning("accept pauses for %.1f s: %s", PAUSE_S, exc.strerror)
                self._pause = self._reactor.call_later(PAUSE_S, self._resume)
                return
            sock.setblocking(False)
            try:
                self._on_accept(sock, address[:2])
            except Exception:
                # A bug met by one visitor: the edge for the others behind him will not come again.
                log.exception("a visitor could not be taken in: %r", self._on_accept)
                self._reactor.discard(sock)
        self._queued = True
        self._reactor.soon(self._accept_some)
