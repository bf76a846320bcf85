"""One live session: an agent that has logged in, its links, and streams to its origins."""

import asyncio
from functools import partial

from portway.engine.channel import Channel
from portway.engine.reactor import TLS_TURN_BYTES, Reactor
from portway.engine.tls_channel import TlsChannel
from portway.errors import UnavailableError
from portway.mux.buffer_budget import SessionBufferBudget
from portway.mux.mux import Mux
from portway.mux.silence import is_silent
from portway.protocol.control.messages import Activity, Claim, Granted, Message
from portway.server.access.request_pacing import RequestPacer
from portway.server.access.tokens import TokenRecord
from portway.server.control.activity import ActivityBatch
from portway.server.control.token_budgets import OutputAccount, TokenBudget, TokenBudgets
from portway.server.edge.admission import AdmissionControl
from portway.server.edge.shedding import Shedder
from portway.server.tunnels.lease import LeaseKey, NoLinkError, OnStatus, Owner
from portway.session.control_stream import ControlStream
from portway.session.stream_handshake import open_visitor_stream

LINKS_MAX = 4
"""Links of one session that take visitors (ADR 0010), and as many again that drain: a quiet visitor may stay there for days."""

BUSY_S = 0.1
"""A link is judged by the bytes of the last 100 ms (ADR 0010)."""

BUSY_BYTES = 64 * 1024
"""Less than this in 100 ms counts as nothing, and above it each doubling as one step. Links on the same step are equally
busy; then the number of streams decides, so that a crowd spreads instead of running to and fro between the links."""

STREAMS_MAX = 4096
"""Streams on one link at a time, its control stream included."""

STREAMS_MANY = 3 * STREAMS_MAX // 4
"""Streams on one link from which on it is looked at whether they become few."""

SHED_AT_ONCE = 64
"""Visitors of a session that give way in one turn: about a millisecond's work. The next stream that is asked for is the next turn."""

USED_UP_S_MAX = 30.0
"""How long visitors may finish on a link whose stream ids are used up and that its agent does not replace (one from before it
could). After that it is closed: nobody new was served meanwhile, and the agent is back in a moment."""

ACTIVITY_BACKLOG_BYTES_MAX = 64 * 1024
"""Unsent control bytes above which request lines are left out: the agent has more urgent things to read."""


class SessionLink:
    """One link of a session, with its own control stream."""

    def __init__(self, mux: Mux, stream: ControlStream, now: float) -> None:
        """Join what was logged in on one link."""
        self.mux = mux
        self.stream = stream
        self.steps = 0
        """How busy it was lately, in coarse steps."""
        self._mark_at = now
        self._mark_bytes = 0
        self.output: OutputAccount | None = None
        """What waits for the link, as it was lately; once it takes part in a session."""
        self.narrow: TlsChannel | None = None
        """The link's channel, until it takes its first visitor: before that, it reads little at a time."""
        self.ending = False
        """True once it will be closed because its stream ids are used up."""

    def widen(self) -> None:
        """Read the link in large helpings from now on. OpenSSL's buffers never shrink: 350 kB for each link that does so."""
        if self.narrow is not None:
            self.narrow.feed_bytes = TLS_TURN_BYTES
            self.narrow = None

    def sample(self, now: float) -> None:
        """Judge the link by what it has carried since the last time."""
        total = self.mux.bytes_in + self.mux.bytes_out
        passed_s = max(now - self._mark_at, BUSY_S / 2)
        self.steps = (int((total - self._mark_bytes) * BUSY_S / passed_s) // BUSY_BYTES).bit_length()
        self._mark_at, self._mark_bytes = now, total


def _end_soon(reactor: Reactor, mux: Mux, why: str) -> None:
    """End a link, but not from within what another one is just doing."""
    reactor.call_soon(partial(mux.abort, why))


class Session:
    """A holder of leases (see `server.tunnels.lease.Holder`).

    Every method but `is_responsive` is synchronous and may be called from the reactor.
    """

    def __init__(  # noqa: PLR0913 - who it is, and what it shares with others
        self,
        reactor: Reactor,
        session_id: str,
        owner: Owner,
        token: TokenRecord,
        key: bytes,
        *,
        admission: AdmissionControl | None = None,
        memory: TokenBudget | None = None,
    ) -> None:
        """Start without links. `key` is the session's key, which further links must prove to know.

        `admission` knows who has its streams, for when they become few; `memory` is what its token's links may keep.
        """
        self._reactor = reactor
        self._session_id = session_id
        self.owner = owner
        self.token = token
        self.key = key
        self.version = 1
        """The protocol version that both ends speak."""
        self.agent = ""
        """Program and version, as the agent says."""
        self.peer = ""
        """`host:port` of the first link's other end."""
        self._memory = TokenBudgets().of(token.id) if memory is None else memory
        self._buffers = SessionBufferBudget(total=self._memory.all)
        self.started_at = reactor.now
        self.account = reactor.authenticated.child(tenant=True)
        """Who is charged for what is done for its tunnels and on its links; sessions of one token share it."""
        self.links: list[SessionLink] = []
        """Live links, oldest first."""
        self._sampled_at = reactor.now
        self._sampling = False
        self.pending_claims: dict[int, asyncio.Event] = {}
        """Claims that are being decided, by their request id; at most one a link."""
        self.granted_claims: dict[int, Granted] = {}
        """What claims were answered with, by their request id: a claim that comes twice gets the same answer."""
        self.claims: dict[LeaseKey, Claim] = {}
        """Claims that are being decided."""
        self.pace = RequestPacer(reactor.now)
        """How fast its requests are answered; what comes faster waits in the control stream's window."""
        self.closed = False
        """True once it was ended or lost."""
        self._activity = ActivityBatch(reactor, self._tell_leisurely)
        self._admission = admission
        self._shedder: Shedder | None = None
        self._relieving = False

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
        if link.narrow is not None:
            link.widen()
        mux = link.mux
        if mux.streams_open >= STREAMS_MANY and not self._relieving and self._admission is not None:
            self._relieving = True
            self._reactor.call_soon(self._relieve)
        try:
            return open_visitor_stream(self._reactor, mux, header, on_status)
        except UnavailableError:
            self._end_used_up()
            if all(is_silent(link.mux, self._reactor.now) for link in self.links):
                raise NoLinkError("the agent does not answer") from None
            raise

    def _relieve(self) -> None:
        """Have those visitors give way who do least with their streams, while more than three quarters of all are taken."""
        self._relieving = False
        taking = [link.mux for link in self.links if not link.mux.yamux.going_away]
        most = sum(mux.yamux.limits.streams_max for mux in taking)
        taken = sum(mux.streams_open for mux in taking)
        if 4 * taken < 3 * most or self._admission is None:
            return
        if self._shedder is None:
            self._shedder = self._admission.shedder_of(self)
        for _ in range(min(taken - 3 * most // 4 + 1, SHED_AT_ONCE)):
            if not self._shedder.shed_one("", critical=16 * taken > 15 * most):
                return
            self._admission.count_shed(f"session {self.session_id}")

    def add_link(self, link: SessionLink) -> None:
        """Use a link that has logged in or joined; what its streams may grow by and keep comes out of the session's budgets."""
        self.links.append(link)
        link.stream.count_in(self._memory.control)
        link.output = OutputAccount(self._memory.all, partial(_end_soon, self._reactor, link.mux))
        if link is self.links[0]:
            link.mux.buffers = self._buffers  # nothing was kept before: the server opens streams, and has opened none
        else:
            link.mux.share_budgets(self.links[0].mux)
            if not self._sampling:
                self._sampling = True
                self._reactor.call_later(BUSY_S, self._keep_sampling)

    @property
    def links_full(self) -> bool:
        """True while no further link may join."""
        taking = sum(not link.mux.yamux.going_away for link in self.links)
        return taking >= LINKS_MAX or len(self.links) >= 2 * LINKS_MAX

    def record_request(self, tunnel_id: int, method: str, path: str, status: int, seconds: float, cut: str = "") -> None:
        """Tell the agent's console of a finished request, soon; see `Holder.record_request`."""
        self._activity.record(tunnel_id, method, path, status, seconds, cut)

    def send(self, message: Message) -> bool:
        """Send a message on the oldest live link; return whether there is one that took it."""
        for link in list(self.links):
            try:
                link.stream.send(message)
            except UnavailableError:
                continue
            return True
        return False

    async def is_responsive(self, within_s: float) -> bool:
        """Return whether anything at all is heard from the agent within so many seconds of being pinged."""
        heard: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def note_pong(_round_trip_s: float) -> None:
            if not heard.done():
                heard.set_result(None)

        asked_at = self._reactor.refresh_now()
        for link in self.links:
            link.mux.ping(note_pong)
        try:
            async with asyncio.timeout(within_s):
                await heard
        except TimeoutError:
            # A pong may be stuck behind a bulk transfer; bytes of that are a sign of life as well.
            return any(link.mux.received_at > asked_at for link in self.links)
        return True

    def end(self) -> None:
        """Be over: tell the agent nothing more of its requests."""
        self.closed = True
        self._activity.close()

    def look_at_output(self) -> None:
        """Count what waits for the links to take it; every second is often enough, as little more can come in one."""
        for link in self.links:
            if link.output is not None:
                link.output.update(link.mux.waiting_bytes)

    def drop_link(self, link: SessionLink) -> bool:
        """Forget a link that is gone; return whether it was the last one."""
        if link in self.links:
            self.links.remove(link)
            if link.output is not None:
                link.output.update(0)
            return not self.links
        return False

    @property
    def streams_open(self) -> int:
        """Visitors' streams open now, on all links."""
        return sum(link.mux.streams_open - (not link.stream.lost) for link in self.links)

    @property
    def rtt_s(self) -> float | None:
        """Lowest recent round trip of its links, in seconds."""
        return min((link.mux.rtt_s for link in self.links if link.mux.rtt_s is not None), default=None)

    def _least_busy(self) -> SessionLink:
        """Return the link for the next visitor: alive, with a place, the quietest lately, then the one with the fewest streams.

        Costs a few comparisons a link and no reading of clocks.
        """
        now = self._reactor.now
        if now - self._sampled_at >= BUSY_S:
            self._sample(now)
        best, steps, streams = None, 0, 0
        for link in self.links:
            if link.mux.yamux.can_open:  # neither lost nor going away nor full
                here = link.mux.streams_open
                if best is None or link.steps < steps or (link.steps == steps and here < streams):
                    best, steps, streams = link, link.steps, here
        return best or self.links[0]  # without a place anywhere, whose refusal says why

    def _end_used_up(self) -> None:
        """Close links that have no stream ids left, once their visitors have left: an agent that replaces them drains them before."""
        for link in self.links:
            session = link.mux.yamux
            if session.ids_exhausted and not session.going_away and not link.ending:
                link.ending = True
                close = partial(link.mux.close, "the link has used up its stream ids")
                if link.mux.streams_open > 1:  # more than the control stream
                    self._reactor.call_later(USED_UP_S_MAX, close)
                else:
                    self._reactor.call_soon(close)

    def _sample(self, now: float) -> None:
        self._sampled_at = now
        for link in self.links:
            link.sample(now)

    def _keep_sampling(self) -> None:
        """Judge the links again, as long as there is a choice: what the last visitor saw may be long ago."""
        self._sampling = len(self.links) > 1
        if self._sampling:
            if self._reactor.now - self._sampled_at >= BUSY_S / 2:
                self._sample(self._reactor.now)
            self._reactor.call_later(BUSY_S, self._keep_sampling)

    def _tell_leisurely(self, activity: Activity) -> None:
        if self.links and self.links[0].stream.unsent_bytes <= ACTIVITY_BACKLOG_BYTES_MAX:
            self.send(activity)
