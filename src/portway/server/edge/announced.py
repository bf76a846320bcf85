"""Connections of proxies in front that begin with a PROXY header: read in the reactor before anybody else has the socket."""

import socket
from collections.abc import Callable

from portway.engine.listener import Address, OnAccept
from portway.engine.poller import BROKEN
from portway.engine.reactor import Reactor
from portway.engine.socket_channel import RESET_ON_CLOSE, on_last_close
from portway.engine.timers import Timer
from portway.errors import PeerError
from portway.protocol.networks import Networks
from portway.protocol.proxy_header import ProxyHeader
from portway.protocol.proxy_line import ANNOUNCED_BYTES_MAX, decode_announcement
from portway.server.places import Places, turn_away
from portway.telemetry.logs import get_log

HEADER_S = 5.0
"""From the connection to the end of its header. It comes with the first packet; the specification wants at least 3 s."""

READING_MAX = 1024
"""Connections whose header is awaited at a time: as many as a listener's backlog. They are the operator's own proxies'."""

LOG_EVERY_S = 10.0
"""How often it is said that a proxy sends no header: a wrong setting there is met by every single visitor."""

log = get_log(__name__)


OnAnnounced = Callable[[socket.socket, Address, ProxyHeader | None], None]
"""Takes a connected, non-blocking socket, its visitor's address, and what a proxy said of the connection, None if there was none."""


class Announcements:
    """Reads what trusted proxies say, for any number of listeners; everybody else's connections pass untouched.

    Whether there is a header is never guessed: from a trusted proxy one has to come, from others none is read (section 2 of
    the specification). Exactly its bytes are taken off the socket.
    """

    def __init__(self, reactor: Reactor, trusted: Networks, places: Places) -> None:
        """Read headers of connections from `trusted`; those that are being read take `places`."""
        self.reactor = reactor
        self._trusted = trusted
        self.reading: dict[_Reading, None] = {}
        self._log_at = 0.0
        places.count(lambda: len(self.reading))

    def before(self, on_accept: OnAnnounced) -> OnAccept:
        """Return what a listener calls, in front of `on_accept`."""

        def accept(sock: socket.socket, address: Address) -> None:
            if address[0] not in self._trusted:
                on_accept(sock, address, None)
            elif len(self.reading) >= READING_MAX:
                turn_away(sock)
            else:
                _Reading(self, sock, address, on_accept)

        return accept

    def failed(self, address: Address, why: str) -> None:
        """Say now and then why connections of a proxy are reset."""
        if self.reactor.now >= self._log_at:
            self._log_at = self.reactor.now + LOG_EVERY_S
            log.warning("connection of a trusted proxy reset: no valid PROXY header", proxy=address[0], why=why)

    def close(self) -> None:
        """Reset every connection whose header is awaited."""
        for reading in list(self.reading):
            reading.abort()


class _Reading:
    """One connection whose header is awaited."""

    def __init__(self, all_of_them: Announcements, sock: socket.socket, address: Address, on_accept: OnAnnounced) -> None:
        self._all = all_of_them
        self._sock = sock
        self._address = address
        self._on_accept = on_accept
        self._data = b""
        all_of_them.reading[self] = None
        self._timer: Timer | None = all_of_them.reactor.call_later(HEADER_S, self._expire)
        all_of_them.reactor.watch(sock.fileno(), self._on_events)

    def abort(self) -> None:
        """Reset the connection; also what the reactor asks after a failed callback."""
        if self in self._all.reading:
            self._leave()
            on_last_close(self._sock, RESET_ON_CLOSE)
            self._all.reactor.discard(self._sock)

    def _expire(self) -> None:
        self._fail(f"none within {HEADER_S:g} s")

    def _on_events(self, mask: int) -> None:
        try:
            while self in self._all.reading and self._read():
                pass
        except OSError as exc:
            self._fail(exc.strerror or str(exc))
        except PeerError as exc:
            self._fail(str(exc))
        if mask & BROKEN:
            self.abort()

    def _read(self) -> bool:
        """Take what belongs to the header; return False when nothing more is there.

        Raises:
            OSError: the connection broke.
            PeerError: this is no header.
        """
        reactor = self._all.reactor
        try:
            peeked = self._sock.recv(ANNOUNCED_BYTES_MAX, socket.MSG_PEEK)
        except BlockingIOError:
            if reactor.level is not None:
                reactor.level.want_read(self._sock.fileno())
            return False
        if not peeked:
            if not self._data:
                self.abort()  # a look whether anybody listens
                return False
            raise PeerError("the connection ended before its header did")
        data = self._data + peeked
        found = decode_announcement(data)
        size = len(data) if found is None else found[1]
        self._sock.recv(size - len(self._data))
        self._data = data[:size]
        if found is not None:
            self._hand_over(found[0])
        return found is None

    def _hand_over(self, header: ProxyHeader) -> None:
        self._leave()
        self._all.reactor.unwatch(self._sock.fileno())
        # Of itself, or of somebody without an IP address, a proxy speaks for itself.
        source = None if header.local else header.source
        address = self._address if source is None or source[0].startswith("unix:") else source
        self._on_accept(self._sock, address, header)

    def _fail(self, why: str) -> None:
        if self in self._all.reading:
            self._all.failed(self._address, why)
            self.abort()

    def _leave(self) -> None:
        timer, self._timer = self._timer, None  # it holds this, and this would hold it
        if timer is not None:
            timer.cancel()
        del self._all.reading[self]
