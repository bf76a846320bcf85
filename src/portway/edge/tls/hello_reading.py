"""Reads the ClientHello of a new connection in the reactor, a bounded number of bytes per turn."""

import socket
from collections.abc import Callable

from portway.engine.accounts import Account
from portway.engine.poller import GONE, READABLE
from portway.engine.reactor import Reactor
from portway.protocol.tls_alert import HelloError
from portway.protocol.tls_hello import ClientHello, HelloReader
from portway.protocol.work import READ_WORK

READ_BYTES = 16 * 1024
"""Bytes per read. A hello takes 0.3 to 2 kB, and fits into one; parsing costs at most 0.3 ms for this many."""

OnHello = Callable[[ClientHello], None]
OnFailure = Callable[[HelloError | None], None]


class HelloReading:
    """Reads one connection until its ClientHello is complete, or invalid. Sets no deadline: its owner calls `stop`."""

    __slots__ = ("_account", "_hello", "_hung_up", "_on_failure", "_on_hello", "_queued", "_reactor", "_sock")

    def __init__(self, reactor: Reactor, sock: socket.socket, account: Account, on_hello: OnHello, on_failure: OnFailure) -> None:
        """Watch `sock`. One of the callbacks is called once, and the socket is left to the caller.

        `on_failure` gets the error, or None if the connection ended. Reads beyond the first of a turn are charged to `account`.
        """
        self._reactor = reactor
        self._sock = sock
        self._account = account
        self._on_hello = on_hello
        self._on_failure = on_failure
        self._hello: HelloReader | None = HelloReader()
        self._queued = False
        self._hung_up = False
        reactor.watch(sock.fileno(), self._on_events)

    def stop(self) -> None:
        """Stop reading, and leave the socket to the caller. It stays in the poller, as most callers watch it next."""
        if self._hello is not None:
            self._hello = None
            self._on_hello, self._on_failure = _ignore_hello, _ignore_failure  # they usually refer back to this object

    def abort(self) -> None:
        """Fail; called by the reactor after a failed callback."""
        self._fail(None)

    def _on_events(self, mask: int) -> None:
        if mask & GONE:
            self._hung_up = True
        if mask & (READABLE | GONE) and not self._queued:
            self._read()

    def _resume(self) -> None:
        self._queued = False
        self._read()

    def _read(self) -> None:
        """Read once; if more may be available, queue the next read behind other sources' turns."""
        reader, reactor = self._hello, self._reactor
        if reader is None:
            return
        try:
            data = self._sock.recv(READ_BYTES)
        except (BlockingIOError, InterruptedError):
            self._want_read()
            return
        except OSError:
            self._fail(None)
            return
        if not data:
            self._fail(None)
            return
        reactor.work.done += READ_WORK + len(data)
        try:
            hello = reader.feed(data)
        except HelloError as exc:
            self._fail(exc)
            return
        if hello is not None:
            on_hello = self._on_hello
            self.stop()
            on_hello(hello)
        elif len(data) == READ_BYTES or self._hung_up:
            self._queued = True
            reactor.call_soon_charged(self._account, self._resume)
        else:
            self._want_read()

    def _want_read(self) -> None:
        if self._reactor.level_poller is not None:
            self._reactor.level_poller.want_read(self._sock.fileno())

    def _fail(self, error: HelloError | None) -> None:
        if self._hello is not None:
            on_failure = self._on_failure
            self.stop()
            on_failure(error)


def _ignore_hello(_hello: ClientHello) -> None:
    """Do nothing: it was stopped."""


def _ignore_failure(_error: HelloError | None) -> None:
    """Do nothing: it was stopped."""
