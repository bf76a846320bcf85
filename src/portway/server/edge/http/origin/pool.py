"""Idle streams to one tunnel's origin, kept so that a request costs no set-up."""

from collections.abc import Callable

from portway.engine.channel import nothing
from portway.engine.reactor import Reactor
from portway.engine.timers import Timer
from portway.errors import UnavailableError
from portway.protocol.http1.head_changes import rewriter_of
from portway.protocol.proxy_header import encode_local
from portway.server.edge.http.head_cache import ResponseHeadCache
from portway.server.edge.http.origin.graceful_close import GracefulClose
from portway.server.edge.http.origin.habits import OriginHabits
from portway.server.edge.http.origin.pin import PinnedStream, PinOwner
from portway.server.edge.http.origin.stream import OriginStream
from portway.server.edge.http.settings import HttpEdgeSettings
from portway.server.tunnels.lease import Holder, Lease

STARVED_S = 0.1
"""How long a stream may rest while others have never been answered: an origin that serves several at once answers them meanwhile, and
one that serves one at a time waits for the next request on the stream that rests (a thread of Python's http.server does)."""
STALE_S = 2.0
"""How long streams may stay unanswered before it is doubted that the origin still serves as many as it once did."""
CHECK_S = 0.05
"""How often those in line look for a stream by themselves: streams that break and links that open tell nobody here."""
SERVED_AT_ONCE = 16
"""Visitors that a turn of the loop takes out of the line at most, so that others have their turn too."""


class TunnelPool:
    """One grant of one lease: what stays the same for all its requests, and its idle streams.

    A later grant gets a pool of its own, so that no stream outlives the session, or the owner, that it was opened for.
    Streams come back only after request and answer both ended cleanly; the last one in is the first one out, so that
    what is not needed grows old. How long they are kept, for which requests, and how many beside streams that wait for their
    first answer, follows from what the origin has shown (`habits`, ADR 0016).
    """

    __slots__ = (
        *("_habits", "_idle", "_look", "_one_by_one", "_pinned", "_pools", "_reactor", "_retired", "_settings", "_starved"),
        *(
            "_unanswered",
            "_used_at",
            "account",
            "answer_s",
            "answered",
            "deadline",
            "farewells",
            "header",
            "holder",
            "lease",
            "line",
            "pins",
        ),
        *("rewriter", "tunnel_id"),
    )

    def __init__(self, pools: "OriginPools", reactor: Reactor, settings: HttpEdgeSettings, lease: Lease, holder: Holder) -> None:
        """Serve `lease` as `holder` has it now, as one of `pools`."""
        self._reactor = reactor
        self._settings = settings
        self._pools = pools
        self.farewells = pools.farewells
        self._retired = False
        self._idle: list[OriginStream] = []
        self.rewriter = rewriter_of(lease.address, settings.domain, lease.rewrite)
        """What changes in heads on their way."""
        self.answered = ResponseHeadCache(self.rewriter, settings.answer_limits, reactor.work)
        """What its origin said lately."""
        self.account = holder.account.child()
        """Who is charged for its visitors' turns."""
        self.answer_s = min(settings.answer_s, lease.origin_timeout_s or settings.answer_s)
        """How long an answer may take to begin, or to show by an interim one that it is coming."""
        self.lease = lease
        self.holder = holder
        self.tunnel_id = lease.tunnel_id
        self.header = encode_local(lease.tunnel_id, wants_untouched=True)
        """The preamble of streams that several visitors use: it names none of them."""
        self.line: dict[object, Callable[[], None]] = {}
        """Visitors for whom there is no stream as all links are full, in the order in which they came; each with what has
        him try again. They leave by themselves, once served. As many as there are visitors; each keeps his request's head."""
        self.pins: dict[PinnedStream, None] = {}
        """Streams of one visitor each, without a request, the one that rests longest first. At most one for a visitor."""
        self._pinned: dict[OriginStream, None] = {}
        self._look: Timer | None = None
        self._habits = OriginHabits(settings.pool_idle_s, settings.pool_alone_s)
        self._unanswered: dict[OriginStream, float] = {}
        """Streams in use that have never been answered, and when they were opened; the oldest first."""
        self._starved: Timer | None = None
        self._one_by_one = False
        """True once streams were answered only when others had been closed."""
        self._used_at = reactor.now
        self.deadline = reactor.now + settings.pool_idle_s
        """When to look for streams that grew old."""

    def __len__(self) -> int:
        return len(self._idle)

    def __repr__(self) -> str:
        return f"<TunnelPool {self.lease.address} tunnel {self.tunnel_id}, {len(self._idle)} idle{', retired' if self._retired else ''}>"

    def serves(self, lease: Lease) -> bool:
        """Return whether this is still how `lease` is granted."""
        return self.lease is lease and self.tunnel_id == lease.tunnel_id and self.holder is lease.holder

    def take(self, *, repeatable: bool) -> OriginStream | None:
        """Return an idle stream, or None; for a request that is not `repeatable` only one that rests for less long than another
        one has survived.
        """
        idle, now = self._idle, self._reactor.now
        while idle:
            stream = idle[-1]
            rested_s = now - stream.idle_since
            if rested_s > (self._habits.keep_s if repeatable else self._habits.survived_s):
                return None
            idle.pop()
            if not (stream.channel.readable or stream.inlet.held) or stream.is_dry():
                stream.rested_s = rested_s
                return stream
            self._ended(stream, rested_s)
        return None

    def open(self) -> OriginStream:
        """Return a new stream; its user hears of the agent's status.

        Raises:
            UnavailableError: no live link, or too many streams.
        """
        if self._retired:
            raise UnavailableError("the tunnel was granted anew")
        stream = OriginStream(self)
        header, new_id = self.header, self._pools.new_id
        if new_id is not None:
            stream.unique_id = new_id()
            header = encode_local(self.tunnel_id, stream.unique_id, wants_untouched=True)
        stream.attach(self._reactor, self.holder.open(self.tunnel_id, header, stream.on_status))
        self._unanswered[stream] = self._used_at = self._reactor.now
        if self._idle:
            self._beware_of_starving()
        return stream

    def give_back(self, stream: OriginStream) -> None:
        """Keep a stream whose last exchange ended cleanly on both ways, if it is dry and there is room for it."""
        stream.user = None
        habits, idle, now = self._habits, self._idle, self._reactor.now
        keep_s = habits.keep_s
        self._used_at = now
        full = len(idle) >= self._settings.pool_idle_max and not self.line
        if self._retired or full or not keep_s or stream.leaving or stream.outlet.rest is not None:
            stream.leave()
            return
        if (stream.channel.readable or stream.inlet.held) and not stream.is_dry():
            self._ended(stream, 0.0)
            return
        if stream.rested_s > habits.survived_s:  # noqa: PLR1730 - max() is a call for each request
            habits.survived_s = stream.rested_s
        stream.idle_since = now
        idle.append(stream)
        if now + keep_s < self.deadline:  # noqa: PLR1730 - min() is a call for each request
            self.deadline = now + keep_s
        if self._unanswered:
            self._beware_of_starving()
        if self.line:
            self._reactor.call_soon(self._serve_line)

    def first_answer(self, stream: OriginStream) -> None:
        """Note that the origin has begun to serve `stream`."""
        stream.answered = True
        if self._unanswered.pop(stream, None) is not None:
            self._habits.answered_first()
            if self._habits.at_once > 1:
                self._one_by_one = False

    def lost(self, stream: OriginStream) -> None:
        """Note that the origin ended `stream` instead of answering the request that followed a rest."""
        self._habits.closed(stream.rested_s, self._reactor.now)

    def gone(self, stream: OriginStream) -> None:
        """Forget a stream that is over, or is somebody else's from now on."""
        self._unanswered.pop(stream, None)
        self._pinned.pop(stream, None)
        if stream.answered:
            stream.answered = False
            self._habits.held -= 1

    def _ended(self, stream: OriginStream, rested_s: float) -> None:
        """Let go of a stream that got an end, a break, or bytes that nobody asked for."""
        if stream.has_bytes():
            stream.abort()
        else:
            self._habits.closed(rested_s, self._reactor.now)
            stream.leave()

    def _beware_of_starving(self) -> None:
        """See to it that streams which rest keep the origin for a moment at most from those that it has not answered."""
        if self._one_by_one:
            self._close_idle()
        elif self._starved is None:
            crowded = self._habits.held + len(self._unanswered) > self._habits.at_once
            self._starved = self._reactor.call_later(STARVED_S if crowded else STALE_S, self._relieve)

    def _relieve(self) -> None:
        """Close streams that rest while others have waited for too long."""
        self._starved = None
        if not self._idle or not self._unanswered:
            return
        if self._reactor.now - next(iter(self._unanswered.values())) >= STALE_S:
            self._habits.distrust()
        self._close_idle()
        if self._habits.at_once == 1:
            self._one_by_one = True
        if self._idle:
            self._beware_of_starving()

    def _close_idle(self) -> None:
        """Close idle streams, the oldest first, until no more are open than the origin has shown to serve at once."""
        idle, habits = self._idle, self._habits
        while idle and habits.held + len(self._unanswered) > habits.at_once:
            idle.pop(0).leave()

    def pin(self, stream: OriginStream) -> None:
        """Keep `stream` for the visitor whose request it carries."""
        stream.pinned = True
        self._pinned[stream] = None

    def keep_for(self, stream: OriginStream, owner: PinOwner) -> bool:
        """Keep a pinned stream for its visitor's next request; False when it had to end instead."""
        if self._retired or stream.leaving or not stream.is_dry():
            stream.leave()
            return False
        PinnedStream(stream, owner, self)
        return True

    def enqueue(self, who: object, try_again: Callable[[], None]) -> None:
        """Let `who` try again when it is his turn; he keeps his place until he takes himself out of `line`."""
        self.line[who] = try_again
        if self._look is None:
            self._look = self._reactor.call_later(CHECK_S, self._look_again)

    def _look_again(self) -> None:
        self._look = None
        if self._idle:
            self._idle.pop(0).leave()  # nobody in line may use it, but it holds a place on a link
        elif self.pins and self.line:
            next(iter(self.pins)).end()
        self._serve_line()

    def _serve_line(self) -> None:
        """Let those in line try, in their order, until one finds nothing."""
        line = self.line
        for _ in range(SERVED_AT_ONCE):
            if not line:
                return
            who, try_again = next(iter(line.items()))
            try_again()
            if who in line:
                break
        else:
            self._reactor.call_soon(self._serve_line)
        if self._look is None and line:
            self._look = self._reactor.call_later(CHECK_S, self._look_again)

    def discard(self, stream: OriginStream) -> None:
        """Drop an idle stream that got bytes, ended or broke."""
        if stream in self._idle and not stream.is_dry():
            self._idle.remove(stream)
            self._ended(stream, self._reactor.now - stream.idle_since)

    def expire(self) -> None:
        """Let go of streams that grew old, and of the pool itself once it is empty and was not used."""
        now = self._reactor.now
        if self.deadline > now:
            return
        self._habits.lapse(now)
        keep_s = self._habits.keep_s
        old = now - keep_s
        kept = [stream for stream in self._idle if stream.idle_since > old]
        for stream in self._idle[: len(self._idle) - len(kept)]:
            stream.leave()
        self._idle = kept
        unused_at = self._used_at + self._settings.pool_idle_s
        if kept:
            self.deadline = kept[0].idle_since + keep_s
        elif self.line or self._pinned or self._unanswered or unused_at > now:
            self.deadline = unused_at if unused_at > now else now + self._settings.pool_idle_s
        else:
            self.close()

    def close(self, *, at_once: bool = False) -> None:
        """Let go of all idle streams; those in use are not kept when they come back."""
        if not self._retired:
            self._retired = True
            for timer in (self._look, self._starved):
                if timer is not None:
                    timer.cancel()
            for try_again in self.line.values():
                self._reactor.call_soon(try_again)
            self.line = {}
            for pin in list(self.pins):
                pin.end()
            idle, self._idle = self._idle, []
            for stream in idle:
                if at_once:
                    stream.abort()
                else:
                    stream.leave()
            self._pools.drop(self)


class OriginPools:
    """The pools of all tunnels in use, by host."""

    def __init__(
        self,
        reactor: Reactor,
        settings: HttpEdgeSettings,
        watch: Callable[[TunnelPool], None],
        forget: Callable[[TunnelPool], None],
        new_id: Callable[[], bytes] | None = None,
    ) -> None:
        """`watch` and `forget` see to it that `expire` is called; `new_id` names streams, where somebody is told of them."""
        self.new_id = new_id
        self._reactor = reactor
        self._settings = settings
        self._watch = watch
        self._forget = forget
        self._pools: dict[str, TunnelPool] = {}
        self.farewells: dict[GracefulClose, None] = {}
        """Streams that are ending."""

    def __len__(self) -> int:
        return len(self._pools)

    @property
    def idle_streams(self) -> int:
        """How many streams are idle, in all pools."""
        return sum(map(len, self._pools.values()))

    def of(self, lease: Lease, holder: Holder) -> TunnelPool:
        """Return the pool for `lease` as `holder` has it now."""
        pool = self._pools.get(lease.address)
        if pool is not None:
            if pool.serves(lease):
                return pool
            pool.close()
        pool = TunnelPool(self, self._reactor, self._settings, lease, holder)
        lease.on_holder_lost = pool.close
        self._pools[lease.address] = pool
        self._watch(pool)
        return pool

    def close(self) -> None:
        """Let go of everything at once."""
        for pool in list(self._pools.values()):
            pool.close(at_once=True)
        for farewell in list(self.farewells):
            farewell.abort()

    def drop(self, pool: TunnelPool) -> None:
        """Forget a pool that there is no use for any more."""
        self._forget(pool)
        if self._pools.get(pool.lease.address) is pool:
            del self._pools[pool.lease.address]
            pool.lease.on_holder_lost = nothing  # which held it
