"""One client of the forward proxy, from accept to the end of its relay."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from portway.engine.channel import BLOCKED, Channel, nothing
from portway.engine.limits import Scopes
from portway.engine.listener import Address
from portway.engine.relay import Relay
from portway.engine.timers import Timer
from portway.errors import BrokenChannel
from portway.forward.events import ClientDone
from portway.forward.interfaces import Cancel, ConnectRequest, Target, User
from portway.forward.negotiation.interfaces import Negotiation
from portway.forward.outcomes import Failure, Outcome
from portway.forward.udp.association import UdpAssociation
from portway.protocol.work import READ_WORK

if TYPE_CHECKING:
    from portway.forward.proxy import ForwardProxy

READ_BYTES = 16 * 1024
"""Bytes per read of the negotiation; a request takes 10 to 500, and what follows belongs to the target."""

CLOSE_S_MAX = 2.0
"""How long a refused client may take to read the reason: a reset because of unread bytes would overtake it."""


class ClientConnection:
    """A client: negotiates, connects, relays. Owns the channel."""

    __slots__ = (
        "_association",
        "_cancel",
        "_channel",
        "_early",
        "_local_host",
        "_negotiation",
        "_proxy",
        "_queued",
        "_relay",
        "_started_at",
        "_timer",
        "address",
        "closed",
        "done",
        "outcome",
        "source",
        "target",
        "user",
    )

    def __init__(self, proxy: "ForwardProxy", channel: Channel, address: Address, source: str, local_host: str) -> None:
        """Represent a client that has connected to `local_host`; `start` begins."""
        self._local_host = local_host
        self._association: UdpAssociation | None = None
        self._proxy = proxy
        self._channel = channel
        self.address = address
        self.source = source
        self.user: User | None = None
        self.target: Target | None = None
        self.outcome = Outcome.BAD_REQUEST
        self.closed = False
        """True once the negotiation is over without a relay; calls of the negotiation then do nothing."""
        self.done = False
        """True once everything is over."""
        self._negotiation: Negotiation | None = None
        self._relay: Relay | None = None
        self._cancel: Cancel | None = None
        self._early = b""
        self._queued = False
        self._started_at = proxy.reactor.now
        self._timer: Timer | None = proxy.reactor.call_later(proxy.settings.initiation_timeout_s, self._initiation_expired)

    @property
    def needs_user(self) -> bool:
        """Whether the client must authenticate."""
        return self._proxy.users.required

    @property
    def protocol(self) -> str:
        """Name of the client's protocol; empty while it is unknown."""
        return "" if self._negotiation is None else self._negotiation.protocol

    def start(self, first: bytes = b"") -> None:
        """Read the first bytes, or take them if they were read already."""
        channel = self._channel
        channel.on_readable = self._read
        channel.on_broken = self._client_left
        if first:
            self._take(first)
        elif channel.readable:
            self._read()

    def start_fixed(self, negotiation: Negotiation, target: Target) -> None:
        """Connect to the only target of the proxy at once."""
        self._channel.on_broken = self._client_left
        self._negotiation = negotiation
        self.connect(target, b"")

    # Called by the negotiation.

    def reply(self, data: bytes) -> None:
        """Send bytes of the protocol, which fit into the buffer of a new connection."""
        if self.closed:
            return
        try:
            complete = not data or self._channel.send(data) == len(data)
        except BrokenChannel:
            complete = False
        if not complete:
            self._break()

    def authenticate(self, name: str, password: bytes, on_checked: Callable[[User | Failure], None]) -> None:
        """Check a password; see `UserDirectory.check`."""

        def checked(result: User | Failure) -> None:
            if not self.closed and not self.done:
                on_checked(result)

        self._proxy.users.check(name, password, self.address[0], checked)

    def connect(self, target: Target, early: bytes, user: User | None = None) -> None:
        """Connect to the target, if it is allowed."""
        if self.closed:
            return
        proxy = self._proxy
        self._stop_timer()
        self._early, self.target, self.user = early, target, user
        self._channel.on_readable = nothing  # early bytes stay in the kernel until the target is connected
        failure = proxy.admits(self) or proxy.policy.judge_target(user, target)
        if failure is not None:
            self.refuse(failure)
            return
        deadline = proxy.reactor.now + proxy.settings.connect_timeout_s
        request = ConnectRequest(target, user, self.address[0], deadline, self._channel.account)
        connected = False

        def on_connected(result: Channel | Failure) -> None:
            nonlocal connected
            connected = True
            self._on_connected(result)

        cancel = proxy.connector.connect(request, on_connected)
        if not connected:
            self._cancel = cancel

    def associate(self, port: int, reply: Callable[[str, int], bytes], user: User | None = None) -> None:
        """Open an association, which ends with this connection."""
        if self.closed:
            return
        proxy = self._proxy
        self._stop_timer()
        self.user = user
        self._channel.on_readable = nothing
        failure = proxy.admits(self)
        if failure is None:
            account = self._channel.account or proxy.reactor.unassigned
            client = (self.address[0], port)
            opened = proxy.udp.open(
                self._channel,
                client,
                self._local_host,
                user=user,
                scopes=self._scopes(),
                on_done=self._on_association_done,
                account=account,
            )
            if not isinstance(opened, Failure):
                self.outcome, self._association = Outcome.ESTABLISHED, opened
                self.reply(reply(*opened.bound_address))
                return
            failure = opened
        self.refuse(failure)

    def refuse(self, failure: Failure) -> None:
        """Send a failure, and close once the client has read it."""
        if self.closed or self.done:
            return
        self.outcome = failure.outcome
        self.reply(b"" if self._negotiation is None else self._negotiation.failed(failure))
        if self._is_over():
            return
        self.closed = True
        self._stop_timer()
        channel = self._channel
        channel.on_broken = self._finish
        channel.on_readable = self._discard
        channel.shutdown_write()
        self._timer = self._proxy.reactor.call_later(CLOSE_S_MAX, self._finish)
        self._proxy.reactor.call_soon(self._discard)

    # Called by the proxy.

    def abort(self) -> None:
        """Reset the client; the reactor also calls this after a failed callback."""
        self.outcome = Outcome.INTERNAL
        if self._relay is not None:
            self._relay.abort("the proxy ended it")
        elif self._association is not None:
            self._association.abort("the proxy ended it")
        else:
            self._break()

    def end_relay(self, why: str) -> None:
        """Reset a relay, or a client that is not relayed yet."""
        if self._relay is not None:
            self._relay.abort(why)
        elif self._association is not None:
            self._association.abort(why)
        else:
            self._break()

    def _read(self) -> None:
        """Read until the negotiation has its request, a bounded number of bytes per turn."""
        if self._queued or self.closed or self._cancel is not None or self._has_request():
            return
        reactor = self._proxy.reactor
        view = reactor.scratch_body[:READ_BYTES]
        try:
            count = self._channel.recv_into(view)
        except BrokenChannel:
            self._client_left()
            return
        if count == BLOCKED:
            return
        reactor.work.done += READ_WORK + count
        if not count:
            if self._negotiation is None:
                self._break()
            else:
                self._negotiation.end()
            return
        self._take(bytes(view[:count]))

    def _take(self, data: bytes) -> None:
        """Pass bytes to the negotiation, and read on in another turn if it needs more."""
        reactor = self._proxy.reactor
        if self._negotiation is None:
            self._negotiation = self._proxy.negotiation_for(self, data)
            if self._negotiation is None:
                return
        self._negotiation.feed(data)
        if not (self._is_over() or self._has_request()) and self._channel.readable:
            self._queued = True
            reactor.call_soon_charged(self._channel.account or reactor.unassigned, self._resume)

    def _resume(self) -> None:
        self._queued = False
        self._read()

    def give_up_channel(self) -> tuple[Channel, Address]:
        """Leave the channel to the caller, which serves plain HTTP; this object is done with it."""
        self._stop_timer()
        channel = self._channel
        channel.on_readable = channel.on_broken = nothing
        self.closed = self.done = True
        self._proxy.forget(self)
        return channel, self.address

    def _on_connected(self, result: Channel | Failure) -> None:
        self._cancel = None
        if isinstance(result, Failure):
            self.refuse(result)
            return
        negotiation = self._negotiation
        if self.closed or self.done or negotiation is None:
            result.abort()
            return
        self.reply(negotiation.established())
        if self._is_over():
            result.abort()
            return
        self.outcome = Outcome.ESTABLISHED
        early, self._early = self._early, b""
        relay = self._relay = Relay(self._proxy.reactor, self._channel, result, self._on_relay_done, self._scopes())
        relay.start_forward(early)
        if not self._is_over():
            relay.start_backward()

    def _is_over(self) -> bool:
        """Whether the client was refused or is gone; a call of the channel may have changed that."""
        return self.closed

    def _has_request(self) -> bool:
        return self.target is not None or self._association is not None

    def _scopes(self) -> Scopes:
        return self._proxy.scopes_of(self.user)

    def _on_relay_done(self, _relay: Relay) -> None:
        self._report()

    def _on_association_done(self, _association: UdpAssociation) -> None:
        self._report()

    def _initiation_expired(self) -> None:
        self._timer = None
        self.refuse(Failure(Outcome.INITIATION_TIMEOUT, f"No complete request within {self._proxy.settings.initiation_timeout_s:g} s."))

    def _client_left(self) -> None:
        if self._cancel is not None:
            self._cancel()
            self._cancel = None
        self._break()

    def _break(self) -> None:
        """Reset the client."""
        if self.done:
            return
        self._channel.abort()
        if self._association is not None:
            self._association.abort("the client's connection broke")
        else:
            self._report()

    def _discard(self) -> None:
        """Drop what a refused client still sends, until its end."""
        if self.done:
            return
        reactor = self._proxy.reactor
        try:
            count = self._channel.recv_into(reactor.scratch_body)
        except BrokenChannel:
            count = 0
        if count == BLOCKED:
            return
        if not count:
            self._finish()
        else:
            reactor.work.done += count
            reactor.call_soon_charged(self._channel.account or reactor.unassigned, self._discard)

    def _finish(self) -> None:
        if not self.done:
            self._channel.close()
            self._report()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _report(self) -> None:
        """Forget everything, and emit the event of the end."""
        self.closed = self.done = True
        self._stop_timer()
        proxy, relay, association = self._proxy, self._relay, self._association
        self._relay = self._association = None
        if self._cancel is not None:
            self._cancel()
            self._cancel = None
        protocol = self.protocol
        self._negotiation = None
        proxy.forget(self)
        joined = relay or association
        tally = None if joined is None else joined.tally
        proxy.report(
            ClientDone(
                tunnel_ctx=proxy.random_bytes(8).hex(),
                result=self.outcome,
                protocol=protocol,
                seconds=proxy.reactor.now - self._started_at,
                upstream_stats=None if tally is None else tally.forward,
                downstream_stats=None if tally is None else tally.backward,
                reason="" if tally is None else tally.why or tally.limit,
                target=str(self.target) if proxy.settings.log_targets and self.target is not None else None,
                user=self.user.name if proxy.settings.log_targets and self.user is not None else None,
                datagrams_dropped=None if association is None else association.drops,
            )
        )
