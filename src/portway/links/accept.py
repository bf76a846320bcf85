"""Accepting links: handshakes run in the reactor, each with a deadline, a bounded number at a time."""

import socket
import ssl
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from portway.engine.channel import Channel
from portway.engine.listener import Address, Listener
from portway.engine.reactor import TLS_HELPING_BYTES, Reactor
from portway.engine.socket_channel import SocketChannel
from portway.engine.timers import Timer
from portway.engine.tls_channel import TlsChannel
from portway.errors import BrokenChannel, MisuseError
from portway.links.sockets import prepare
from portway.links.tls import ALPN
from portway.protocol.sources import source_of

OnLink = Callable[[Channel, Address], None]
OnFailure = Callable[[Address, str], None]


def _ignore(_address: Address, _why: str) -> None:
    """Stand in for nobody who wants to hear of failures."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HandshakeLimits:
    """What strangers may cost before they have said a word."""

    seconds_max: float = 10.0
    """From accept to the end of the handshake; longer is a slow attacker or a dead path. Peers allow 5 to 120 s."""
    under_way_max: int = 512
    """Handshakes at a time. One holds 43 kB, or 190 kB once a ClientHello claims to be long: 96 MB at the very most."""
    per_source_max: int = 128
    """The same from one source: whoever opens connections and says nothing takes a quarter of the places, not all."""


DEFAULT_LIMITS = HandshakeLimits()


class LinkListener:
    """Hands each established link and its peer's address to `on_link`; a slow peer delays nobody else."""

    def __init__(
        self,
        reactor: Reactor,
        sock: socket.socket | None,
        context: ssl.SSLContext | None,
        on_link: OnLink,
        on_failure: OnFailure = _ignore,
        limits: HandshakeLimits = DEFAULT_LIMITS,
    ) -> None:
        """Accept on `sock`, or only `take`; with `context` None links are plain. `on_failure` hears of bad handshakes."""
        self.reactor = reactor
        self.limits = limits
        self._context = context
        self._on_link = on_link
        self._on_failure = on_failure
        self._handshakes: set[_Handshake] = set()
        self._by_source: Counter[str] = Counter()
        self._listener = None if sock is None else Listener(reactor, sock, self.take)

    @property
    def address(self) -> Address:
        """Where it listens, if it does."""
        if self._listener is None:
            raise MisuseError("this one listens nowhere")
        return self._listener.address

    def close(self) -> None:
        """Stop listening and break off handshakes under way."""
        if self._listener is not None:
            self._listener.close()
        for handshake in list(self._handshakes):
            handshake.abort()

    def take(self, sock: socket.socket, address: Address) -> None:
        """Shake hands on a connected, non-blocking socket."""
        prepare(sock)
        if self._context is None:
            self._on_link(SocketChannel(self.reactor, sock), address)
            return
        source = source_of(address[0])
        full = self._why_full(source)
        if full:
            self.reactor.discard(sock)
            self._on_failure(address, full)
        else:
            channel = TlsChannel(self.reactor, sock, self._context, server_side=True, feed_bytes=TLS_HELPING_BYTES)
            self._by_source[source] += 1
            self._handshakes.add(_Handshake(self, channel, address, source))

    def _why_full(self, source: str) -> str:
        limits = self.limits
        if len(self._handshakes) >= limits.under_way_max:
            return f"{limits.under_way_max} handshakes are under way already"
        if self._by_source[source] >= limits.per_source_max:
            return f"{limits.per_source_max} handshakes from {source} are under way already"
        return ""

    def finished(self, handshake: "_Handshake", failure: str | None) -> None:
        """Take the outcome of one handshake."""
        if handshake not in self._handshakes:
            return
        self._handshakes.discard(handshake)
        self._by_source[handshake.source] -= 1
        if not self._by_source[handshake.source]:
            del self._by_source[handshake.source]
        if failure is None:
            self._on_link(handshake.channel, handshake.address)
        else:
            self._on_failure(handshake.address, failure)


class _Handshake:
    """One handshake and its deadline."""

    def __init__(self, listener: LinkListener, channel: TlsChannel, address: Address, source: str) -> None:
        self.channel = channel
        self.address = address
        self.source = source
        self._listener = listener
        self._timer: Timer = listener.reactor.call_later(listener.limits.seconds_max, self._time_out)
        channel.handshake(self._done)

    def abort(self) -> None:
        self._fail("broken off")

    def _time_out(self) -> None:
        self._fail(f"no TLS handshake within {self._listener.limits.seconds_max:g} s")

    def _fail(self, why: str) -> None:
        self._timer.cancel()
        self.channel.abort()
        self._listener.finished(self, why)

    def _done(self, failure: BrokenChannel | None) -> None:
        if failure is not None:
            self._timer.cancel()
            # Not abort: a RST could overtake the TLS alert that tells the peer what is wrong.
            self.channel.close()
            self._listener.finished(self, str(failure))
        elif self.channel.alpn != ALPN:
            self._fail(f"ALPN {self.channel.alpn!r} instead of {ALPN!r}: not an agent")
        else:
            self._timer.cancel()
            self._listener.finished(self, None)
