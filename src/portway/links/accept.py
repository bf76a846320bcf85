"""Accepting links: handshakes run in the reactor, each with a deadline, a bounded number at a time, shared fairly by sources."""

import random
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from weakref import WeakValueDictionary

from portway.engine.accounts import Account
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
from portway.links.sources import Sources
from portway.links.tls import ALPN
from portway.protocol.source_key import source_key

KNOWN_WEIGHT = 8.0
"""How much more of the core handshakes from a source get from which somebody has logged in before: an office that comes back while
eight other sources do nothing but handshakes still gets half of what is there for strangers."""

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
    """Handshakes at a time; after a restart so many agents of one office may come at once. One that has begun holds 43 kB, or
    190 kB once a ClientHello claims to be long: 96 MB at the very most. One that says nothing holds 1 kB."""


DEFAULT_LIMITS = HandshakeLimits()


class LinkListener:
    """Hands each established link and its peer's address to `on_link`; a slow peer delays nobody else."""

    def __init__(  # noqa: PLR0913 - where links come from, where they go, and what holds meanwhile
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
        """Accept on `sock`, or only `take`; with `context` None links are plain. `on_failure` hears of bad handshakes.

        `sources` is shared with whoever notes logins.
        """
        self.reactor = reactor
        self.limits = limits
        self.context = context
        self._on_link = on_link
        self._on_failure = on_failure
        self._sources = sources or Sources()
        self._handshakes: FairSlots[_Handshake] = FairSlots(limits.under_way_max, self._sources, random.random)
        self._under_way: set[_Handshake] = set()
        self._accounts: WeakValueDictionary[str, Account] = WeakValueDictionary()
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
        for handshake in list(self._under_way):
            handshake.fail("broken off")

    def take(self, sock: socket.socket, address: Address) -> None:
        """Shake hands on a connected, non-blocking socket."""
        configure_link_socket(sock)
        if self.context is None:
            self._on_link(SocketChannel(self.reactor, sock), address)
            return
        handshake = _Handshake(self, sock, address)
        try:
            loser = self._handshakes.acquire(handshake.source, handshake, self.reactor.now)
        except UnavailableError as exc:
            self.reactor.discard(sock)
            self._on_failure(address, f"too many handshakes are under way: {exc}")
            return
        self._under_way.add(handshake)
        handshake.start()
        if loser is not None:
            loser.fail("its place was needed for another source")

    def account_of(self, source: str) -> Account:
        """Return who is charged for handshakes and unknown links from a source: each gets the same of what is there for strangers,
        and those from which somebody has logged in before get more.
        """
        account = self._accounts.get(source)
        if account is None:
            weight = KNOWN_WEIGHT if self._sources.is_known(source, self.reactor.now) else 1.0
            account = self._accounts[source] = self.reactor.unauthenticated.child(weight, tenant=True)
        return account

    def finished(self, handshake: "_Handshake", link: TlsChannel | None, failure: str = "") -> None:
        """Take the outcome of one handshake: a link, or why there is none."""
        if handshake not in self._under_way:
            return
        self._under_way.discard(handshake)
        self._handshakes.release(handshake.source, handshake)
        if link is not None:
            self._on_link(link, handshake.address)
        else:
            self._on_failure(handshake.address, failure)


class _Handshake:
    """One handshake and its deadline. What OpenSSL needs for it is made only when the peer has said something."""

    def __init__(self, listener: LinkListener, sock: socket.socket, address: Address) -> None:
        self.address = address
        self.source = source_key(address[0])
        self._account = listener.account_of(self.source)
        self._listener = listener
        self._sock = sock
        self._channel: TlsChannel | None = None
        self._waiting = True
        self._over = False
        self._timer: Timer

    def start(self) -> None:
        """Wait for the peer's first byte."""
        reactor = self._listener.reactor
        self._timer = reactor.call_later(self._listener.limits.seconds_max, self._time_out)
        reactor.watch(self._sock.fileno(), self._on_events)

    def begin(self) -> None:
        """Shake hands, unless it was given up meanwhile."""
        listener = self._listener
        context = listener.context
        if context is None or self._over:
            return
        self._channel = TlsChannel(listener.reactor, self._sock, context, server_side=True)
        self._channel.account = self._account
        self._channel.handshake(self._done)

    def fail(self, why: str) -> None:
        """Break it off."""
        self._over = True
        self._timer.cancel()
        if self._channel is None:
            self._listener.reactor.discard(self._sock)
        else:
            self._channel.abort()
        self._listener.finished(self, None, why)

    def abort(self) -> None:
        """Give up, as the reactor asks after a failed callback."""
        self.fail("broken off")

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
            # Not abort: a RST could overtake the TLS alert that tells the peer what is wrong.
            channel.close()
            self._listener.finished(self, None, str(failure))
        elif channel.alpn != ALPN:
            self.fail(f"ALPN {channel.alpn!r} instead of {ALPN!r}: not an agent")
        else:
            self._timer.cancel()
            self._listener.finished(self, channel)
