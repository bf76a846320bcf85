"""Every kind of channel as a pair of ends with a cable between, so that one suite can test all of them."""

import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from portway.engine.channel import Channel
from portway.engine.memory_channel import memory_pair
from portway.engine.socket_channel import SocketChannel
from portway.engine.tls_channel import TlsChannel
from portway.engine.tls_records import FEED_VISITOR_BYTES
from portway.mux.mux import Mux
from portway.mux.mux_channel import MuxChannel
from tests.kit.certificates import Identity, client_context
from tests.kit.loops import EngineLoop
from tests.kit.socket_cable import CableDirection, SocketCable

BUFFER_BYTES = 64 * 1024
"""Kernel buffers in tests: small, so that back-pressure shows after little data."""


@dataclass
class Pair:
    """Two ends of one channel; `near` is the channel under test, `far` its peer."""

    kind: str
    near: Channel
    far: Channel
    cable_if_any: SocketCable | None
    """The cable between them, None in memory."""
    carriers: list[Channel] = field(default_factory=list)
    """Channels below the ends, to be closed afterwards."""
    near_is_left: bool = True
    """Whether the near end is the left end of the cable."""

    @property
    def cable(self) -> SocketCable:
        """The cable; fails in memory."""
        assert self.cable_if_any is not None
        return self.cable_if_any

    @property
    def direction_to_far(self) -> CableDirection:
        """The cable's direction from near to far."""
        return self.cable.rightward if self.near_is_left else self.cable.leftward

    @property
    def tls(self) -> bool:
        """True where TLS is the first layer under the bytes."""
        return "tls" in self.kind

    @property
    def mux(self) -> bool:
        """True for mux streams."""
        return self.kind.startswith("mux")

    @property
    def reports_resets(self) -> bool:
        """False where an abort looks like an end (a unix socket has no RST)."""
        return self.kind != "unix"

    @property
    def reports_truncation(self) -> bool:
        """False where a bare FIN is the proper end."""
        return self.tls or self.mux

    @property
    def buffered_bytes_max(self) -> int:
        """Most bytes that may be buffered while nothing is read: kernel buffers, cable, window, ciphertext."""
        return 2 * 1024 * 1024


Maker = Callable[[EngineLoop, Identity], Pair]


def _socket(unix: bool) -> Maker:
    def make(engine: EngineLoop, _identity: Identity) -> Pair:
        cable = SocketCable(engine.loop, unix=unix, buffer_bytes=BUFFER_BYTES)
        near, far = (SocketChannel(engine.reactor, sock) for sock in (cable.left, cable.right))
        return Pair("unix" if unix else "tcp", near, far, cable)

    return make


def shake_hands(engine: EngineLoop, *ends: TlsChannel) -> None:
    """Run the handshakes of both ends; fail if one fails."""
    outcomes: list[BaseException | None] = []
    for end in ends:
        end.handshake(outcomes.append)
    engine.run_until(lambda: len(outcomes) == len(ends), what="TLS handshakes")
    assert outcomes == [None] * len(ends), outcomes


def tls_ends(
    engine: EngineLoop, identity: Identity, *, feed_bytes: int = FEED_VISITOR_BYTES, version: ssl.TLSVersion | None = None
) -> tuple[TlsChannel, TlsChannel, SocketCable]:
    """Return client, server (handshake done) and the cable."""
    cable = SocketCable(engine.loop, buffer_bytes=BUFFER_BYTES)
    at_client, at_server = client_context(identity), identity.server_context()
    if version is not None:
        at_client.maximum_version = version
    client = TlsChannel(engine.reactor, cable.left, at_client, server_side=False, server_hostname="localhost")
    server = TlsChannel(engine.reactor, cable.right, at_server, server_side=True)
    shake_hands(engine, client, server)
    client.feed_bytes = server.feed_bytes = feed_bytes
    return client, server, cable


def _tls(near_is_server: bool, version: ssl.TLSVersion | None = None) -> Maker:
    def make(engine: EngineLoop, identity: Identity) -> Pair:
        client, server, cable = tls_ends(engine, identity, version=version)
        near, far = (server, client) if near_is_server else (client, server)
        return Pair("tls-server" if near_is_server else "tls-client", near, far, cable, near_is_left=not near_is_server)

    return make


def _memory(engine: EngineLoop, _identity: Identity) -> Pair:
    near, far = memory_pair(engine.reactor)
    return Pair("memory", near, far, None)


def _mux(over_tls: bool, near_opens: bool) -> Maker:
    def make(engine: EngineLoop, identity: Identity) -> Pair:
        if over_tls:
            left, right, cable = tls_ends(engine, identity, feed_bytes=256 * 1024)
            links: tuple[Channel, Channel] = (left, right)
        else:
            cable = SocketCable(engine.loop, buffer_bytes=BUFFER_BYTES)
            links = (SocketChannel(engine.reactor, cable.left), SocketChannel(engine.reactor, cable.right))
        arrived: list[MuxChannel] = []
        lost: list[str] = []
        opener = Mux(engine.reactor, links[0], client=True, on_stream=arrived.append, on_lost=lost.append)
        Mux(engine.reactor, links[1], client=False, on_stream=arrived.append, on_lost=lost.append)
        opened = opener.open()
        engine.run_until(lambda: len(arrived) == 1, what="the stream's arrival")
        near, far = (opened, arrived[0]) if near_opens else (arrived[0], opened)
        kind = f"mux-{'tls' if over_tls else 'socket'}-{'opened' if near_opens else 'accepted'}"
        return Pair(kind, near, far, cable, list(links), near_opens)

    return make


KINDS: dict[str, Maker] = {
    "tcp": _socket(unix=False),
    "unix": _socket(unix=True),
    "tls-client": _tls(near_is_server=False),
    "tls-server": _tls(near_is_server=True),
    "tls12-server": _tls(near_is_server=True, version=ssl.TLSVersion.TLSv1_2),
    "mux-socket-opened": _mux(over_tls=False, near_opens=True),
    "mux-socket-accepted": _mux(over_tls=False, near_opens=False),
    "mux-tls-opened": _mux(over_tls=True, near_opens=True),
    "mux-tls-accepted": _mux(over_tls=True, near_opens=False),
    "memory": _memory,
}
"""All kinds by name."""


@contextmanager
def pair_of(kind: str, engine: EngineLoop, identity: Identity) -> Iterator[Pair]:
    """Create a pair; afterwards close its ends, the channels below them, and the cable."""
    pair = KINDS[kind](engine, identity)
    try:
        yield pair
    finally:
        for end in (pair.near, pair.far, *pair.carriers):
            end.close()
        engine.settle()
        if pair.cable_if_any is not None:
            pair.cable_if_any.close()
