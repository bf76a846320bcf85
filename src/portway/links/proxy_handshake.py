"""Gets a connection to a target from a proxy, on a connected socket: TLS if the proxy uses it, then the proxy's own protocol."""

import socket
import ssl
from collections.abc import Callable
from functools import cache

from portway.engine.channel import BLOCKED, Channel, nothing
from portway.engine.reactor import Reactor
from portway.engine.relay import Relay
from portway.engine.socket_channel import SocketChannel
from portway.engine.tls_channel import TlsChannel
from portway.errors import BrokenChannel, ConfigError, PeerError
from portway.protocol.proxy_client import Refusal, dialogue_with
from portway.protocol.proxy_url import ProxyUrl

READ_BYTES_MAX = 512
"""Of one read. The dialogue usually needs fewer, so that nothing behind the proxy's reply is read."""

READS_A_TURN = 64
"""A reply can be read in pieces of one byte; others have their turn in between."""

OnConnected = Callable[[Channel | Refusal], None]


@cache
def system_context() -> ssl.SSLContext:
    """Return the TLS context for proxies whose certificates the system's authorities vouch for (SSL_CERT_FILE changes them)."""
    return proxy_context(None)


def proxy_context(ca_file: str | None) -> ssl.SSLContext:
    """Return the TLS context for HTTPS proxies with certificates of `ca_file`, by default of the system's authorities. Blocks.

    Raises:
        ConfigError: the file cannot be read.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        if ca_file is None:
            context.load_default_certs(ssl.Purpose.SERVER_AUTH)
        else:
            context.load_verify_locations(ca_file)
    except (OSError, ssl.SSLError) as exc:
        raise ConfigError(f"{ca_file}: invalid CA certificates: {exc}") from exc
    return context


class ProxyHandshake:
    """The handshake with one proxy. It owns the socket until `on_connected` gets the channel to the target, or the reason why not.

    There is no deadline: the caller has one, and calls `cancel`.
    """

    def __init__(  # noqa: PLR0913 - a proxy, a target, and where they meet
        self,
        reactor: Reactor,
        sock: socket.socket,
        proxy: ProxyUrl,
        host: str,
        port: int,
        on_connected: OnConnected,
        *,
        context: ssl.SSLContext | None = None,
    ) -> None:
        """Start on a connected, non-blocking socket; `context` is for an HTTPS proxy, by default that with the system's authorities."""
        self._reactor = reactor
        self._dialogue = dialogue_with(proxy, host, port)
        self._on_connected = on_connected
        self._unsent = b""
        self._buffer = memoryview(bytearray(READ_BYTES_MAX))
        self._channel: Channel | None
        if proxy.scheme == "https":
            tls = TlsChannel(reactor, sock, context or system_context(), server_side=False, server_hostname=proxy.host)
            self._channel = tls
            tls.handshake(self._on_tls)
        else:
            self._channel = SocketChannel(reactor, sock)
            reactor.call_soon(self._start)

    def cancel(self) -> None:
        """Stop without calling back; harmless afterwards."""
        channel, self._channel = self._channel, None
        if channel is not None:
            channel.abort()

    def _on_tls(self, failure: BrokenChannel | None) -> None:
        if failure is None:
            self._start()
            return
        wrong = isinstance(failure.__cause__, ssl.SSLCertVerificationError)
        self._fail(Refusal("tls_certificate_error" if wrong else "tls_protocol_error", f"TLS failed: {failure}"))

    def _start(self) -> None:
        channel = self._channel
        if channel is None:
            return
        self._unsent = self._dialogue.start()
        channel.on_readable = channel.on_writable = channel.on_broken = self._run
        self._run()

    def _run(self) -> None:
        """Send and read until the dialogue ends or the channel blocks."""
        channel, dialogue = self._channel, self._dialogue
        if channel is None:
            return
        try:
            for _ in range(READS_A_TURN):
                self._send(channel)
                if not dialogue.wanted:
                    self._end(channel)
                    return
                count = channel.recv_into(self._buffer[: min(dialogue.wanted, READ_BYTES_MAX)])
                if count == BLOCKED:
                    channel.room()  # with 0, on_writable follows
                    return
                if not count:
                    self._fail(Refusal("connection_terminated", "it closed the connection without a complete reply"))
                    return
                self._unsent += dialogue.feed(bytes(self._buffer[:count]))
        except BrokenChannel as exc:
            self._fail(Refusal("connection_terminated", f"the connection broke before its reply: {exc}"))
        except PeerError as exc:
            self._fail(Refusal("http_protocol_error", f"not a proxy of this kind: {exc}"))
        else:
            self._reactor.call_soon(self._run)

    def _send(self, channel: Channel) -> None:
        if self._unsent:
            self._unsent = self._unsent[channel.send(self._unsent) :]

    def _end(self, channel: Channel) -> None:
        if self._dialogue.refusal is not None:
            self._fail(self._dialogue.refusal)
            return
        channel.on_readable = channel.on_writable = channel.on_broken = nothing
        self._channel = None
        self._on_connected(channel)

    def _fail(self, refusal: Refusal) -> None:
        channel, self._channel = self._channel, None
        if channel is not None:
            channel.abort()
            self._on_connected(refusal)


def as_socket(reactor: Reactor, channel: Channel) -> socket.socket:
    """Return a socket in place of a channel, for TLS within it: the channel's own, or one end of a pair that is relayed to it."""
    taken: list[socket.socket] = []

    def take(sock: socket.socket) -> bool:
        taken.append(sock)
        return True

    if isinstance(channel, SocketChannel) and channel.detach(take):
        return taken[0]
    near, far = socket.socketpair()
    near.setblocking(False)
    far.setblocking(False)
    Relay(reactor, SocketChannel(reactor, near), channel, nothing_more).start()
    return far


def nothing_more(_relay: Relay) -> None:
    """Do nothing when a relay ends: both of its sides have been closed."""
