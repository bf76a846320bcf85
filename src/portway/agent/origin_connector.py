"""Connects to an origin: tries its addresses in turn, with TLS if needed, and returns a status if that fails."""

import errno
import ipaddress
import socket
import ssl
from collections.abc import Callable

from portway.agent.target import Target
from portway.engine.channel import Channel
from portway.engine.connect import Attempt, connect
from portway.engine.reactor import Reactor
from portway.engine.socket_channel import SocketChannel
from portway.engine.tls_channel import TlsChannel
from portway.errors import BrokenChannel
from portway.links.resolver import Address, Resolver
from portway.protocol.stream_status import StreamStatus

CONNECT_S_MAX = 8.0
"""For name, connection and TLS together: less than the server's deadline (session/stream_handshake.py), so that it gets the reason."""

_EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL, errno.EAGAIN}

OnConnected = Callable[[Channel | StreamStatus], None]


class OriginConnector:
    """One attempt to connect to an origin; calls back once, from the reactor, with a channel or the status of the failure."""

    __slots__ = (
        "_addresses",
        "_attempt",
        "_context",
        "_on_connected",
        "_reactor",
        "_resolver",
        "_status",
        "_target",
        "_timer",
        "_tls",
        "reason",
    )

    def __init__(
        self, reactor: Reactor, resolver: Resolver, target: Target, context: ssl.SSLContext | None, on_connected: OnConnected
    ) -> None:
        """Prepare; `connect` begins. `context` is for a target that uses TLS."""
        self._reactor = reactor
        self._resolver = resolver
        self._target = target
        self._context = context
        self._on_connected: OnConnected | None = on_connected
        self._addresses: list[Address] = []
        self._attempt: Attempt | None = None
        self._tls: TlsChannel | None = None
        self._status = StreamStatus.UNRESOLVABLE
        self.reason = ""
        """Reason of the failure, where the status alone is not enough."""
        self._timer = reactor.call_later(CONNECT_S_MAX, self._time_out)

    def connect(self) -> None:
        """Begin to resolve and connect."""
        target = self._target
        if target.path:
            self._attempt = connect(self._reactor, socket.AF_UNIX, target.path, None, self._on_socket)
        else:
            self._resolver.resolve(target.host, target.port, self._on_resolved)

    def abort(self) -> None:
        """Stop, without calling back."""
        self._on_connected = None
        self._timer.cancel()
        attempt, self._attempt = self._attempt, None
        if attempt is not None:
            attempt.cancel()
        tls, self._tls = self._tls, None
        if tls is not None:
            tls.abort()

    def _on_resolved(self, addresses: list[Address]) -> None:
        self._addresses = list(addresses)
        self._try_next()

    def _try_next(self) -> None:
        if self._on_connected is None:
            return
        if not self._addresses:
            self._resolver.invalidate(self._target.host, self._target.port)
            self._report(self._status)
            return
        family, address = self._addresses.pop(0)
        # Each address gets a share of the time, so that a dead first one does not use all of it; the last one gets the rest.
        share_s = CONNECT_S_MAX / (len(self._addresses) + 1) if self._addresses else None
        self._attempt = connect(self._reactor, family, address, share_s, self._on_socket)

    def _on_socket(self, result: socket.socket | OSError) -> None:
        self._attempt = None
        if self._on_connected is None:
            if isinstance(result, socket.socket):
                self._reactor.discard(result)
            return
        if isinstance(result, OSError):
            self._status = status_of(result)
            if self._status is StreamStatus.OVERLOADED or self._target.path:
                self._report(self._status)
            else:
                self._try_next()
        elif self._context is None:
            self._report(SocketChannel(self._reactor, result))
        else:
            name = self._target.host or "localhost"
            self._tls = TlsChannel(self._reactor, result, self._context, server_side=False, server_hostname=name)
            self._tls.handshake(self._on_handshake)

    def _on_handshake(self, failure: BrokenChannel | None) -> None:
        channel, self._tls = self._tls, None
        if failure is not None or channel is None:
            if channel is not None:
                channel.close()
            self.reason = f"TLS with the origin failed: {str(failure).removeprefix('TLS handshake failed: ')}"
            self._report(StreamStatus.REFUSED)
        else:
            self._report(channel)

    def _time_out(self) -> None:
        on_connected = self._on_connected
        self.abort()
        if on_connected is not None:
            on_connected(StreamStatus.TIMED_OUT)

    def _report(self, outcome: Channel | StreamStatus) -> None:
        on_connected, self._on_connected = self._on_connected, None
        self._timer.cancel()
        if on_connected is not None:
            on_connected(outcome)
        elif isinstance(outcome, Channel):
            outcome.abort()


def status_of(error: OSError) -> StreamStatus:
    """Return the stream status for a failed connect."""
    if error.errno in _EXHAUSTED:
        return StreamStatus.OVERLOADED
    return StreamStatus.TIMED_OUT if error.errno == errno.ETIMEDOUT else StreamStatus.REFUSED


def origin_tls(target: Target) -> ssl.SSLContext | None:
    """Return the TLS context for an origin, None if it uses none.

    The certificate of an origin on this machine is not verified: it is nearly always self-signed, and the bytes do not leave
    the machine. Elsewhere it is verified by the system's CAs.
    """
    if not target.tls:
        return None
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    if _is_this_machine(target):
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _is_this_machine(target: Target) -> bool:
    if target.path or target.host.lower() == "localhost" or target.host.lower().endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(target.host).is_loopback
    except ValueError:
        return False
