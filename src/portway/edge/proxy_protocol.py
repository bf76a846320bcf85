"""Reads the PROXY header of connections from trusted proxies, in the reactor, before an edge takes the socket."""

import socket
from collections.abc import Callable

from portway.edge.admission import AdmissionControl, reset_socket
from portway.engine.listener import Address, OnAccept
from portway.engine.poller import BROKEN
from portway.engine.reactor import Reactor
from portway.engine.socket_channel import RESET_ON_CLOSE, set_close_mode
from portway.engine.timers import Timer
from portway.errors import PeerError
from portway.protocol.networks import Networks
from portway.protocol.proxy_header import ProxyHeader
from portway.protocol.proxy_inbound import V2_BYTES_MAX, decode_inbound
from portway.telemetry.logs import get_log

HEADER_S = 5.0
"""From accept to the end of the header, which comes in the first packet; the specification asks for at least 3 s."""

PENDING_MAX = 1024
"""Connections with an incomplete header: a listener's backlog. Only the operator's own proxies open them."""

LOG_EVERY_S = 10.0
"""Interval between log messages about missing headers: a misconfigured proxy causes one for every visitor."""

log = get_log(__name__)


OnProxied = Callable[[socket.socket, Address, ProxyHeader | None], None]
"""Takes a connected, non-blocking socket, the visitor's address, and the PROXY header, if the peer is a trusted proxy."""


class ProxyProtocolReader:
    """Reads PROXY headers for any number of listeners.

    The presence of a header is never guessed (section 2 of the specification): it is required on connections from trusted
    proxies, and not read on others. Exactly the header's bytes are consumed.
    """

    def __init__(self, reactor: Reactor, trusted: Networks, admission: AdmissionControl) -> None:
        """Read headers on connections from `trusted`; pending connections count in `admission`."""
        self.reactor = reactor
        self._trusted = trusted
        self.pending: dict[_PendingHeader, None] = {}
        self._log_at = 0.0
        admission.add_counter(lambda: len(self.pending))

    def wrap(self, on_accept: OnProxied) -> OnAccept:
        """Return a listener's callback that reads the header first and then calls `on_accept`."""

        def accept(sock: socket.socket, address: Address) -> None:
            if address[0] not in self._trusted:
                on_accept(sock, address, None)
            elif len(self.pending) >= PENDING_MAX:
                reset_socket(sock)
            else:
                _PendingHeader(self, sock, address, on_accept)

        return accept

    def log_failure(self, address: Address, reason: str) -> None:
        """Log the reason for resetting a proxy's connection, at most every LOG_EVERY_S."""
        if self.reactor.now >= self._log_at:
            self._log_at = self.reactor.now + LOG_EVERY_S
            log.warning("trusted proxy connection reset: no valid PROXY header", proxy=address[0], reason=reason)

    def close(self) -> None:
        """Reset all pending connections."""
        for connection in list(self.pending):
            connection.abort()


class _PendingHeader:
    """One connection with an incomplete header."""

    def __init__(self, reader: ProxyProtocolReader, sock: socket.socket, address: Address, on_accept: OnProxied) -> None:
        self._reader = reader
        self._sock = sock
        self._address = address
        self._on_accept = on_accept
        self._data = b""
        reader.pending[self] = None
        self._timer: Timer | None = reader.reactor.call_later(HEADER_S, self._expire)
        reader.reactor.watch(sock.fileno(), self._on_events)

    def abort(self) -> None:
        """Reset the connection; the reactor also calls this after a failed callback."""
        if self in self._reader.pending:
            self._detach()
            set_close_mode(self._sock, RESET_ON_CLOSE)
            self._reader.reactor.discard(self._sock)

    def _expire(self) -> None:
        self._fail(f"none within {HEADER_S:g} s")

    def _on_events(self, mask: int) -> None:
        try:
            while self in self._reader.pending and self._read():
                pass
        except OSError as exc:
            self._fail(exc.strerror or str(exc))
        except PeerError as exc:
            self._fail(str(exc))
        if mask & BROKEN:
            self.abort()

    def _read(self) -> bool:
        """Consume available header bytes; return False when there are none, or the header is complete.

        Raises:
            OSError: the connection broke.
            PeerError: invalid header.
        """
        reactor = self._reader.reactor
        try:
            peeked = self._sock.recv(V2_BYTES_MAX, socket.MSG_PEEK)
        except BlockingIOError:
            if reactor.level_poller is not None:
                reactor.level_poller.want_read(self._sock.fileno())
            return False
        if not peeked:
            if not self._data:
                self.abort()  # a health check
                return False
            raise PeerError("the connection ended before its header did")
        data = self._data + peeked
        found = decode_inbound(data)
        size = len(data) if found is None else found[1]
        self._sock.recv(size - len(self._data))
        self._data = data[:size]
        if found is not None:
            self._deliver(found[0])
        return found is None

    def _deliver(self, header: ProxyHeader) -> None:
        self._detach()
        self._reader.reactor.unwatch(self._sock.fileno())
        # LOCAL, UNKNOWN and unix sockets: the connection is the proxy's own.
        source = None if header.local else header.source
        address = self._address if source is None or source[0].startswith("unix:") else source
        self._on_accept(self._sock, address, header)

    def _fail(self, reason: str) -> None:
        if self in self._reader.pending:
            self._reader.log_failure(self._address, reason)
            self.abort()

    def _detach(self) -> None:
        timer, self._timer = self._timer, None  # breaks the reference cycle
        if timer is not None:
            timer.cancel()
        del self._reader.pending[self]
