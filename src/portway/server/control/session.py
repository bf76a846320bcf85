"""A session: one logged-in agent, its links, and streams to its origins."""

import asyncio
from functools import partial

from portway.edge.admission import AdmissionControl
from portway.edge.lease import LeaseKey, NoLinkError, OnStatus, Owner
from portway.edge.shedding import Shedder
from portway.engine.channel import Channel
from portway.engine.reactor import TLS_TURN_BYTES, Reactor
from portway.engine.tls_channel import TlsChannel
from portway.errors import UnavailableError
from portway.mux.buffer_budget import SessionBufferBudget
from portway.mux.mux import Mux
from portway.mux.responsiveness import is_silent
from portway.protocol.control.messages import Activity, Claim, Granted, Message
from portway.server.access.request_pacing import RequestPacer
from portway.server.access.tokens import TokenRecord
from portway.server.control.activity import ActivityBatch
from portway.server.control.token_budgets import OutputAccount, TokenBudget, TokenBudgets
from portway.session.control_stream import ControlStream
from portway.session.stream_handshake import open_visitor_stream

LINKS_MAX = 4
"""Links of one session that accept streams (ADR 0010), and as many again that drain: an idle visitor may stay there for days."""

BUSY_S = 0.1
"""The load of a link is measured over the last 100 ms (ADR 0010)."""

BUSY_BYTES = 64 * 1024
"""Less than this in 100 ms counts as idle, and above it each doubling is one step. Links on the same step are equally busy;
then the number of streams decides, so that many new streams spread over the links instead of alternating between them."""

STREAMS_MAX = 4096
"""Streams on one link at a time, its control stream included."""

SHED_STREAMS_MIN = 3 * STREAMS_MAX // 4
"""Streams on one link above which the session checks whether to shed some."""

SHED_PER_TURN = 64
"""Visitors of a session that are shed in one turn: about a millisecond of work. The next opened stream causes the next turn."""

EXHAUSTED_S_MAX = 30.0
"""How long visitors may finish on a link without stream ids left, if the agent does not replace it (older agents cannot). Then
it is closed: it could not serve new visitors, and the agent reconnects at once."""

ACTIVITY_BACKLOG_BYTES_MAX = 64 * 1024
"""Unsent control bytes above which request lines are dropped: the agent has more urgent messages to read."""


class SessionLink:
    """One link of a session, with its control stream."""

    def __init__(self, mux: Mux, stream: ControlStream, now: float) -> None:
        """Wrap the mux and the control stream of a link after its login."""
        self.mux = mux
        self.stream = stream
        self.load_step = 0
        """Recent load, in coarse steps."""
        self._mark_at = now
        self._mark_bytes = 0
        self.output: OutputAccount | None = None
        """Budget entry of its unsent bytes; set when the link is added to a session."""
        self.idle_channel: TlsChannel | None = None
        """The link's TLS channel until its first visitor: until then it reads in small pieces."""
        self.closing = False
        """True once its close is scheduled because it has no stream ids left."""

    def use_large_reads(self) -> None:
        """Read the link in large pieces from now on. OpenSSL's buffers never shrink: this takes 350 kB per link."""
        if self.idle_channel is not None:
            self.idle_channel.feed_bytes = TLS_TURN_BYTES
            self.idle_channel = None

    def sample(self, now: float) -> None:
        """Measure the load of the link since the last sample."""
        total = self.mux.bytes_in + self.mux.bytes_out
        passed_s = max(now - self._mark_at, BUSY_S / 2)
        self.load_step = (int((total - self._mark_bytes) * BUSY_S / passed_s) // BUSY_BYTES).bit_length()
        self._mark_at, self._mark_bytes = now, total


def _abort_soon(reactor: Reactor, mux: Mux, reason: str) -> None:
    """Abort a link in a later callback, as the caller may be working on another link."""
    reactor.call_soon(partial(mux.abort, reason))


class Session:
    """A holder of leases (see `server.tunnels.lease.Holder`).

    Every method but `is_responsive` is synchronous and may be called from the reactor.
    """

    def __init__(  # noqa: PLR0913 - its identity, and what it shares with other sessions
        self,
        reactor: Reactor,
        session_id: str,
        owner: Owner,
        token: TokenRecord,
        key: bytes,
        *,
        admission: AdmissionControl | None = None,
        budget: TokenBudget | None = None,
    ) -> None:
        """Start without links. `key` is the session key that further links must prove to have.

        `admission` finds visitors to shed when streams run short; `budget` is the memory budget of its token.
        """
        self._reactor = reactor
        self._session_id = session_id
        self.owner = owner
        self.token = token
        self.key = key
        self.version = 1
        """The negotiated protocol version."""
        self.agent = ""
        """Program and version, as reported by the agent."""
        self.peer = ""
        """`host:port` of the agent, from its first link."""
        self._budget = TokenBudgets().of(token.id) if budget is None else budget
        self._buffers = SessionBufferBudget(total=self._budget.all)
        self.started_at = reactor.now
        self.account = reactor.authenticated.child(tenant=True)
        """Account charged for work on its tunnels and links; sessions of one token share it."""
        self.links: list[SessionLink] = []
        """Live links, oldest first."""
        self._sampled_at = reactor.now
        self._sampling = False
        self.pending_claims: dict[int, asyncio.Event] = {}
        """Claims being decided, by request id; at most one per link."""
        self.granted_claims: dict[int, Granted] = {}
        """Replies to claims, by request id: a repeated claim gets the same reply."""
        self.claims: dict[LeaseKey, Claim] = {}
        """Claims being decided, by address."""
        self.request_pacer = RequestPacer(reactor.now)
        """Limits the rate of its requests; faster ones wait in the control stream's window."""
        self.closed = False
        """True once it has ended or was lost."""
        self._activity = ActivityBatch(reactor, self._send_activity)
        self._admission = admission
        self._shedder: Shedder | None = None
        self._shedding_scheduled = False

    def __repr__(self) -> str:
        return f"<Session {self._session_id} of {self.token.name}, {len(self.links)} links{', closed' if self.closed else ''}>"

    @property
    def session_id(self) -> str:
        """Return the id that no other session of this server ever has."""
        return self._session_id

    def open(self, tunnel_id: int, header: bytes, on_status: OnStatus) -> Channel:  # noqa: ARG002 - the header names the tunnel already
        """Open a stream on the least busy link that takes one; see `Holder.open`."""
        links = self.links
        if not links:
            raise NoLinkError("the agent has no live link")
        link = links[0] if len(links) == 1 else self._least_busy()
        if link.idle_channel is not None:
            link.use_large_reads()
        mux = link.mux
        if mux.streams_open >= SHED_STREAMS_MIN and not self._shedding_scheduled and self._admission is not None:
            self._shedding_scheduled = True
            self._reactor.call_soon(self._shed_streams)
        try:
            return open_visitor_stream(self._reactor, mux, header, on_status)
        except UnavailableError:
            self._close_exhausted()
            if all(is_silent(link.mux, self._reactor.now) for link in self.links):
                raise NoLinkError("the agent does not answer") from None
            raise

    def _shed_streams(self) -> None:
        """Shed the least active visitors while more than three quarters of all streams are in use."""
        self._shedding_scheduled = False
        accepting = [link.mux for link in self.links if not link.mux.yamux.going_away]
        capacity = sum(mux.yamux.limits.streams_max for mux in accepting)
        used = sum(mux.streams_open for mux in accepting)
        if 4 * used < 3 * capacity or self._admission is None:
            return
        if self._shedder is None:
            self._shedder = self._admission.shedder_of(self)
        for _ in range(min(used - 3 * capacity // 4 + 1, SHED_PER_TURN)):
            if not self._shedder.shed_one("", critical=16 * used > 15 * capacity):
                return
            self._admission.count_shed(f"session {self.session_id}")

    def add_link(self, link: SessionLink) -> None:
        """Add an authenticated link; its streams share the session's budgets."""
        self.links.append(link)
        link.stream.use_budget(self._budget.control)
        link.output = OutputAccount(self._budget.all, partial(_abort_soon, self._reactor, link.mux))
        if link is self.links[0]:
            link.mux.buffers = self._buffers  # nothing is buffered yet: only the server opens streams, and it has opened none
        else:
            link.mux.share_budgets(self.links[0].mux)
            if not self._sampling:
                self._sampling = True
                self._reactor.call_later(BUSY_S, self._keep_sampling)

    @property
    def links_full(self) -> bool:
        """True while no further link may be added."""
        accepting = sum(not link.mux.yamux.going_away for link in self.links)
        return accepting >= LINKS_MAX or len(self.links) >= 2 * LINKS_MAX

    def record_request(self, tunnel_id: int, method: str, path: str, status: int, seconds: float, cut: str = "") -> None:
        """Add a finished request to the next batch for the agent's console; see `Holder.record_request`."""
        self._activity.record(tunnel_id, method, path, status, seconds, cut)

    def send(self, message: Message) -> bool:
        """Send a message on the oldest live link; return False if no link accepts it."""
        for link in list(self.links):
            try:
                link.stream.send(message)
            except UnavailableError:
                continue
            return True
        return False

    async def is_responsive(self, within_s: float) -> bool:
        """Ping the agent; return whether anything is received from it within `within_s` seconds."""
        pong: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def on_pong(_round_trip_s: float) -> None:
            if not pong.done():
                pong.set_result(None)

        pinged_at = self._reactor.refresh_now()
        for link in self.links:
            link.mux.ping(on_pong)
        try:
            async with asyncio.timeout(within_s):
                await pong
        except TimeoutError:
            # The pong may be queued behind a bulk transfer, whose bytes show that the agent is alive as well.
            return any(link.mux.received_at > pinged_at for link in self.links)
        return True

    def end(self) -> None:
        """Mark the session as closed, and send no more request lines."""
        self.closed = True
        self._activity.close()

    def update_output_budgets(self) -> None:
        """Update the budget entries of unsent bytes; once a second suffices, as they cannot grow much in that time."""
        for link in self.links:
            if link.output is not None:
                link.output.update(link.mux.waiting_bytes)

    def drop_link(self, link: SessionLink) -> bool:
        """Remove a lost link; return whether it was the last one."""
        if link in self.links:
            self.links.remove(link)
            if link.output is not None:
                link.output.update(0)
            return not self.links
        return False

    @property
    def streams_open(self) -> int:
        """Open streams of visitors, on all links."""
        return sum(link.mux.streams_open - (not link.stream.lost) for link in self.links)

    @property
    def rtt_s(self) -> float | None:
        """Lowest recent round trip of its links, in seconds."""
        return min((link.mux.rtt_s for link in self.links if link.mux.rtt_s is not None), default=None)

    def _least_busy(self) -> SessionLink:
        """Return the link for the next visitor: with free streams, the lowest recent load, then the fewest streams.

        Takes a few comparisons per link and reads no clock.
        """
        now = self._reactor.now
        if now - self._sampled_at >= BUSY_S:
            self._sample(now)
        best, lowest, streams = None, 0, 0
        for link in self.links:
            if link.mux.yamux.can_open:  # neither lost nor going away nor full
                count = link.mux.streams_open
                if best is None or link.load_step < lowest or (link.load_step == lowest and count < streams):
                    best, lowest, streams = link, link.load_step, count
        return best or self.links[0]  # none has a free stream: opening one raises the reason

    def _close_exhausted(self) -> None:
        """Close links without stream ids left, once their visitors are gone; agents that replace such links drain them before."""
        for link in self.links:
            session = link.mux.yamux
            if session.ids_exhausted and not session.going_away and not link.closing:
                link.closing = True
                close = partial(link.mux.close, "the link has used up its stream ids")
                if link.mux.streams_open > 1:  # more than the control stream
                    self._reactor.call_later(EXHAUSTED_S_MAX, close)
                else:
                    self._reactor.call_soon(close)

    def _sample(self, now: float) -> None:
        self._sampled_at = now
        for link in self.links:
            link.sample(now)

    def _keep_sampling(self) -> None:
        """Sample the links again while there are several: without visitors, the last sample may be old."""
        self._sampling = len(self.links) > 1
        if self._sampling:
            if self._reactor.now - self._sampled_at >= BUSY_S / 2:
                self._sample(self._reactor.now)
            self._reactor.call_later(BUSY_S, self._keep_sampling)

    def _send_activity(self, activity: Activity) -> None:
        if self.links and self.links[0].stream.unsent_bytes <= ACTIVITY_BACKLOG_BYTES_MAX:
            self.send(activity)
