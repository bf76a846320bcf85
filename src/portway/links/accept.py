"""Accepts links: handshakes run in the reactor, each with a deadline, a bounded number at a time, shared fairly among sources."""

import random
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass

from portway.engine.channel import Channel
from portway.engine.listener import Address, Listener
from portway.engine.poller import GONE, READABLE
from portway.engine.reactor import Reactor
from portway.engine.socket_channel import SocketChannel
from portway.engine.timers import Timer
from portway.engine.tls_channel import TlsChannel
from portway.errors import BrokenChannel, MisuseError, UnavailableError
from portway.links.fair_slots import FairSlots
from portway.links.sockets import configure_link_socket
from portway.links.source_accounts import SourceAccounts
from portway.links.sources import Sources
from portway.links.tls import ALPN
from portway.protocol.source_key import source_key

KNOWN_WEIGHT = 8.0
"""Weight of handshakes from sources with an earlier login: an office that reconnects while eight other sources only make handshakes
still gets half of the time for unauthenticated peers."""

OnLink = Callable[[Channel, Address], None]
OnFailure = Callable[[Address, str], None]


def _ignore(_address: Address, _why: str) -> None:
    """Do nothing: the default failure callback."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HandshakeLimits:
    """Limits of handshakes with unauthenticated peers."""

    seconds_max: float = 10.0
    """From accept to the end of the handshake; longer ones are attacks or dead paths. Peers allow 5 to 120 s."""
    under_way_max: int = 512
    """Concurrent handshakes; after a restart as many agents of one office may reconnect at once. A started one uses 43 kB, or
    190 kB if its ClientHello claims to be long: at most 96 MB in total. One without data uses 1 kB."""


DEFAULT_LIMITS = HandshakeLimits()


class LinkListener:
    """Passes each established link with its peer's address to `on_link`; slow peers do not delay others."""

    def __init__(  # noqa: PLR0913 - a socket, callbacks, and limits
        self,
        reactor: Reactor,
        sock: socket.socket | None,
        context: ssl.SSLContext | None,
        on_link: OnLink,
        on_failure: OnFailure = _ignore,
        *,
        limits: HandshakeLimits = DEFAULT_LIMITS,
        sources: Sources | None = None,
    ) -> None:
        """Accept on `sock`, or only connections passed to `take`; with `context` None links are plain. `on_failure` gets failed handshakes.

        `sources` is shared with the code that records logins.
        """
        self.reactor = reactor
        self.limits = limits
        self.context = context
        self._on_link = on_link
        self._on_failure = on_failure
        self._sources = sources or Sources()
        self._handshakes: FairSlots[_Handshake] = FairSlots(limits.under_way_max, self._sources, random.random)
        self._under_way: set[_Handshake] = set()
        self.accounts = SourceAccounts(reactor.unauthenticated, self._weight_of)
        """Accounts charged for handshakes and unauthenticated links: all sources get equal shares of the time for unauthenticated
        peers, and those with an earlier login get more."""
        self._listener = None if sock is None else Listener(reactor, sock, self.take)

    @property
    def address(self) -> Address:
        """The listening address."""
        if self._listener is None:
            raise MisuseError("this listener has no socket")
        return self._listener.address

    def close(self) -> None:
        """Stop listening and abort pending handshakes."""
        if self._listener is not None:
            self._listener.close()
        for handshake in list(self._under_way):
            handshake.fail("aborted")

    def take(self, sock: socket.socket, address: Address, received: bytes = b"") -> None:
        """Start the handshake on a connected, non-blocking socket, from which `received` was read already."""
        configure_link_socket(sock)
        if self.context is None:
            self._on_link(SocketChannel(self.reactor, sock), address)
            return
        handshake = _Handshake(self, sock, address, received)
        try:
            loser = self._handshakes.acquire(handshake.source, handshake, self.reactor.now)
        except UnavailableError as exc:
            self.reactor.discard(sock)
            self._on_failure(address, f"too many pending handshakes: {exc}")
            return
        self._under_way.add(handshake)
        handshake.start()
        if loser is not None:
            loser.fail("replaced by a handshake from another source")

    def _weight_of(self, source: str) -> float:
        return KNOWN_WEIGHT if self._sources.is_known(source, self.reactor.now) else 1.0

    def finished(self, handshake: "_Handshake", link: TlsChannel | None, failure: str = "") -> None:
        """Handle the outcome of one handshake: a link, or the reason of the failure."""
        if handshake not in self._under_way:
            return
        self._under_way.discard(handshake)
        self._handshakes.release(handshake.source, handshake)
        if link is not None:
            self._on_link(link, handshake.address)
        else:
            self._on_failure(handshake.address, failure)


class _Handshake:
    """One handshake with its deadline. OpenSSL objects are created only once the peer has sent data."""

    def __init__(self, listener: LinkListener, sock: socket.socket, address: Address, received: bytes) -> None:
        self.address = address
        self.source = source_key(address[0])
        self._account = listener.accounts.of(address[0])
        self._listener = listener
        self._sock = sock
        self._channel: TlsChannel | None = None
        self._received = received
        self._waiting = not received
        self._ended = False
        self._timer: Timer

    def start(self) -> None:
        """Wait for the peer's first byte, unless it was read already."""
        reactor = self._listener.reactor
        self._timer = reactor.call_later(self._listener.limits.seconds_max, self._time_out)
        if self._received:
            reactor.call_soon_charged(self._account, self.begin)
            return
        reactor.watch(self._sock.fileno(), self._on_events)

    def begin(self) -> None:
        """Start the TLS handshake, unless it was aborted meanwhile."""
        listener = self._listener
        context = listener.context
        if context is None or self._ended:
            return
        received, self._received = self._received, b""
        self._channel = TlsChannel(listener.reactor, self._sock, context, server_side=True, received=received)
        self._channel.account = self._account
        self._channel.handshake(self._done)

    def fail(self, why: str) -> None:
        """Abort the handshake."""
        self._ended = True
        self._timer.cancel()
        if self._channel is None:
            self._listener.reactor.discard(self._sock)
        else:
            self._channel.abort()
        self._listener.finished(self, None, why)

    def abort(self) -> None:
        """Abort; called by the reactor after a failed callback."""
        self.fail("aborted")

    def _on_events(self, mask: int) -> None:
        if self._waiting and mask & (READABLE | GONE):
            self._waiting = False
            self._listener.reactor.call_soon_charged(self._account, self.begin)

    def _time_out(self) -> None:
        self.fail(f"no TLS handshake within {self._listener.limits.seconds_max:g} s")

    def _done(self, failure: BrokenChannel | None) -> None:
        channel = self._channel
        if channel is None:
            return
        if failure is not None:
            self._timer.cancel()
            # Not abort: a RST could overtake the TLS alert that reports the error to the peer.
            channel.close()
            self._listener.finished(self, None, str(failure))
        elif channel.alpn != ALPN:
            self.fail(f"ALPN {channel.alpn!r} instead of {ALPN!r}: not an agent")
        else:
            self._timer.cancel()
            self._listener.finished(self, channel)
