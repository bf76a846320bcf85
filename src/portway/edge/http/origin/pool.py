"""Idle streams to one tunnel's origin, kept so that requests need no set-up, and the queue of requests while links are full."""

from collections.abc import Callable

from portway.edge.http.access_control import hsts_fields
from portway.edge.http.head_cache import ResponseHeadCache
from portway.edge.http.origin.graceful_close import GracefulClose
from portway.edge.http.origin.habits import OriginHabits
from portway.edge.http.origin.pinned_stream import PinnedStream, PinOwner
from portway.edge.http.origin.stream import OriginStream
from portway.edge.http.settings import HttpEdgeSettings
from portway.edge.lease import Holder, Lease
from portway.engine.channel import nothing
from portway.engine.reactor import Reactor
from portway.engine.timers import Timer
from portway.errors import UnavailableError
from portway.protocol.http1.head_changes import rewriter_of
from portway.protocol.http1.serialise import field_lines
from portway.protocol.proxy_header import encode_local

STARVED_S = 0.1
"""How long a stream may be idle while others have had no response: an origin that serves several at once responds meanwhile, and
one that serves one at a time waits for the next request on the idle stream (a thread of Python's http.server does)."""
STALE_S = 2.0
"""How long streams may stay without a response before the origin's measured concurrency is doubted."""
QUEUE_POLL_S = 0.05
"""Interval of polling for the queue: no event reports streams that break and links that open."""
QUEUE_SERVED_PER_TURN = 16
"""Maximum number of queued requests per turn, so that others have their turn too."""


class TunnelPool:
    """One grant of one lease: what is the same for all its requests, and its idle streams.

    A later grant gets a pool of its own, so that no stream outlives the session, or the owner, that it was opened for.
    Streams return only after request and response both ended cleanly; they are used last in, first out, so that unneeded ones
    expire. How long they are kept, for which requests, and how many beside streams that wait for their
    first response, follows from the origin's behaviour so far (`habits`, ADR 0016).
    """

    __slots__ = (
        *("_habits", "_idle", "_pinned", "_poll_timer", "_pools", "_reactor", "_retired", "_serial", "_settings", "_starvation_timer"),
        *(
            "_unresponded",
            "_used_at",
            "account",
            "response_s",
            "response_heads",
            "deadline",
            "closing",
            "header",
            "holder",
            "lease",
            "queue",
            "pins",
        ),
        *("https_lines", "rewriter", "tunnel_id"),
    )

    def __init__(self, pools: "OriginPools", reactor: Reactor, settings: HttpEdgeSettings, lease: Lease, holder: Holder) -> None:
        """Serve `lease` as `holder` has it now, as one of `pools`."""
        self._reactor = reactor
        self._settings = settings
        self._pools = pools
        self.closing = pools.closing
        self._retired = False
        self._idle: list[OriginStream] = []
        added = hsts_fields(lease, settings)
        self.rewriter = rewriter_of(
            lease.address,
            settings.domain,
            lease.rewrite,
            dropped=[name for name, _ in added],
            authorization=not (lease.access and lease.access.users),
        )
        """Rewrites heads of this tunnel."""
        self.https_lines = field_lines(added) if added else b""
        """Lines that are added to responses over https, in place of the origin's."""
        self.response_heads = ResponseHeadCache(self.rewriter, settings.response_limits, reactor.work, settings.response_fields_taken)
        """Cache of its origin's response heads."""
        self.account = holder.account.child()
        """Account charged for its visitors' turns."""
        self.response_s = min(settings.response_s, lease.origin_timeout_s or settings.response_s)
        """How long a response may take to begin, or to show by an interim one that it is coming."""
        self.lease = lease
        self.holder = holder
        self.tunnel_id = lease.tunnel_id
        self.header = encode_local(lease.tunnel_id, wants_untouched=True)
        """Preamble of streams that several visitors use: it names none of them."""
        self.queue: dict[object, Callable[[], None]] = {}
        """Requests without a stream while all links are full, in order of arrival; each with a callback that retries it. They
        remove themselves once served. At most one per visitor; each buffers its head."""
        self.pins: dict[PinnedStream, None] = {}
        """Streams of one visitor each, without a request, the longest idle first. At most one per visitor."""
        self._pinned: dict[OriginStream, None] = {}
        self._poll_timer: Timer | None = None
        self._habits = OriginHabits(settings.pool_idle_s, settings.pool_serial_idle_s)
        self._unresponded: dict[OriginStream, float] = {}
        """Streams in use without any response yet, and when they were opened; the oldest first."""
        self._starvation_timer: Timer | None = None
        self._serial = False
        """True once streams got responses only after others had been closed."""
        self._used_at = reactor.now
        self.deadline = reactor.now + settings.pool_idle_s
        """When to check for expired streams."""

    def __len__(self) -> int:
        return len(self._idle)

    def __repr__(self) -> str:
        return f"<TunnelPool {self.lease.address} tunnel {self.tunnel_id}, {len(self._idle)} idle{', retired' if self._retired else ''}>"

    def serves(self, lease: Lease) -> bool:
        """Return whether `lease` is still granted in the same way."""
        return self.lease is lease and self.tunnel_id == lease.tunnel_id and self.holder is lease.holder

    def take(self, *, repeatable: bool) -> OriginStream | None:
        """Return an idle stream, or None; for a request that is not `repeatable` only one that has been idle for less time than
        another one has survived.
        """
        idle, now = self._idle, self._reactor.now
        while idle:
            stream = idle[-1]
            idle_for_s = now - stream.idle_since
            if idle_for_s > (self._habits.keep_s if repeatable else self._habits.survived_s):
                return None
            idle.pop()
            if not (stream.channel.readable or stream.reader.buffered) or stream.is_idle():
                stream.idle_for_s = idle_for_s
                return stream
            self._discard_ended(stream, idle_for_s)
        return None

    def open(self) -> OriginStream:
        """Return a new stream; its user receives the agent's status.

        Raises:
            UnavailableError: no live link, or too many streams.
        """
        if self._retired:
            raise UnavailableError("the tunnel has been granted again")
        stream = OriginStream(self)
        header, new_id = self.header, self._pools.new_id
        if new_id is not None:
            stream.unique_id = new_id()
            header = encode_local(self.tunnel_id, stream.unique_id, wants_untouched=True)
        stream.attach(self._reactor, self.holder.open(self.tunnel_id, header, stream.on_status))
        self._unresponded[stream] = self._used_at = self._reactor.now
        if self._idle:
            self._prevent_starvation()
        return stream

    def give_back(self, stream: OriginStream) -> None:
        """Keep a stream whose last exchange ended cleanly in both directions, if it is idle and the pool is not full."""
        stream.user = None
        habits, idle, now = self._habits, self._idle, self._reactor.now
        keep_s = habits.keep_s
        self._used_at = now
        full = len(idle) >= self._settings.pool_idle_max and not self.queue
        if self._retired or full or not keep_s or stream.link_draining or stream.writer.pending is not None:
            stream.close_gracefully()
            return
        if (stream.channel.readable or stream.reader.buffered) and not stream.is_idle():
            self._discard_ended(stream, 0.0)
            return
        if stream.idle_for_s > habits.survived_s:  # noqa: PLR1730 - max() is a call for each request
            habits.survived_s = stream.idle_for_s
        stream.idle_since = now
        idle.append(stream)
        if now + keep_s < self.deadline:  # noqa: PLR1730 - min() is a call for each request
            self.deadline = now + keep_s
        if self._unresponded:
            self._prevent_starvation()
        if self.queue:
            self._reactor.call_soon(self._serve_queue)

    def first_response(self, stream: OriginStream) -> None:
        """Record that the origin has begun to serve `stream`."""
        stream.responded = True
        if self._unresponded.pop(stream, None) is not None:
            self._habits.on_first_response()
            if self._habits.concurrency > 1:
                self._serial = False

    def on_closed_by_origin(self, stream: OriginStream) -> None:
        """Record that the origin closed `stream` instead of responding to a request after an idle period."""
        self._habits.on_closed(stream.idle_for_s, self._reactor.now)

    def forget(self, stream: OriginStream) -> None:
        """Forget a stream that is closed, or no longer the pool's."""
        self._unresponded.pop(stream, None)
        self._pinned.pop(stream, None)
        if stream.responded:
            stream.responded = False
            self._habits.active -= 1

    def _discard_ended(self, stream: OriginStream, idle_for_s: float) -> None:
        """Close a stream on which an end, a break, or unexpected bytes arrived."""
        if stream.has_unread():
            stream.abort()
        else:
            self._habits.on_closed(idle_for_s, self._reactor.now)
            stream.close_gracefully()

    def _prevent_starvation(self) -> None:
        """Ensure that idle streams keep the origin only briefly from streams without a response."""
        if self._serial:
            self._close_idle()
        elif self._starvation_timer is None:
            crowded = self._habits.active + len(self._unresponded) > self._habits.concurrency
            self._starvation_timer = self._reactor.call_later(STARVED_S if crowded else STALE_S, self._on_starvation)

    def _on_starvation(self) -> None:
        """Close idle streams while others have waited too long for a response."""
        self._starvation_timer = None
        if not self._idle or not self._unresponded:
            return
        if self._reactor.now - next(iter(self._unresponded.values())) >= STALE_S:
            self._habits.reset_concurrency()
        self._close_idle()
        if self._habits.concurrency == 1:
            self._serial = True
        if self._idle:
            self._prevent_starvation()

    def _close_idle(self) -> None:
        """Close idle streams, the oldest first, until no more are open than the origin has served at once."""
        idle, habits = self._idle, self._habits
        while idle and habits.active + len(self._unresponded) > habits.concurrency:
            idle.pop(0).close_gracefully()

    def pin(self, stream: OriginStream) -> None:
        """Reserve `stream` for the visitor whose request it carries."""
        stream.pinned = True
        self._pinned[stream] = None

    def keep_pinned(self, stream: OriginStream, owner: PinOwner) -> bool:
        """Keep a pinned stream for its visitor's next request; return False if it had to be closed instead."""
        if self._retired or stream.link_draining or not stream.is_idle():
            stream.close_gracefully()
            return False
        PinnedStream(stream, owner, self)
        return True

    def enqueue(self, waiter: object, retry: Callable[[], None]) -> None:
        """Call `retry` when it is the turn of `waiter`, which keeps its position until it removes itself from `queue`."""
        self.queue[waiter] = retry
        if self._poll_timer is None:
            self._poll_timer = self._reactor.call_later(QUEUE_POLL_S, self._poll)

    def _poll(self) -> None:
        self._poll_timer = None
        if self._idle:
            self._idle.pop(0).close_gracefully()  # unusable for the queue, but it occupies a link
        elif self.pins and self.queue:
            next(iter(self.pins)).end()
        self._serve_queue()

    def _serve_queue(self) -> None:
        """Let queued requests retry, in order, until one finds no stream."""
        queue = self.queue
        for _ in range(QUEUE_SERVED_PER_TURN):
            if not queue:
                return
            waiter, retry = next(iter(queue.items()))
            retry()
            if waiter in queue:
                break
        else:
            self._reactor.call_soon(self._serve_queue)
        if self._poll_timer is None and queue:
            self._poll_timer = self._reactor.call_later(QUEUE_POLL_S, self._poll)

    def discard(self, stream: OriginStream) -> None:
        """Drop an idle stream that received bytes, ended or broke."""
        if stream in self._idle and not stream.is_idle():
            self._idle.remove(stream)
            self._discard_ended(stream, self._reactor.now - stream.idle_since)

    def expire(self) -> None:
        """Close expired streams, and the pool itself once it is empty and unused."""
        now = self._reactor.now
        if self.deadline > now:
            return
        self._habits.expire_verdict(now)
        keep_s = self._habits.keep_s
        old = now - keep_s
        kept = [stream for stream in self._idle if stream.idle_since > old]
        for stream in self._idle[: len(self._idle) - len(kept)]:
            stream.close_gracefully()
        self._idle = kept
        unused_at = self._used_at + self._settings.pool_idle_s
        if kept:
            self.deadline = kept[0].idle_since + keep_s
        elif self.queue or self._pinned or self._unresponded or unused_at > now:
            self.deadline = unused_at if unused_at > now else now + self._settings.pool_idle_s
        else:
            self.close()

    def close(self, *, at_once: bool = False) -> None:
        """Close all idle streams; those in use are not kept when they return."""
        if not self._retired:
            self._retired = True
            for timer in (self._poll_timer, self._starvation_timer):
                if timer is not None:
                    timer.cancel()
            for retry in self.queue.values():
                self._reactor.call_soon(retry)
            self.queue = {}
            for pin in list(self.pins):
                pin.end()
            idle, self._idle = self._idle, []
            for stream in idle:
                if at_once:
                    stream.abort()
                else:
                    stream.close_gracefully()
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
        """`watch` and `forget` register a pool for `expire`; `new_id` names streams, if events are emitted."""
        self.new_id = new_id
        self._reactor = reactor
        self._settings = settings
        self._watch = watch
        self._forget = forget
        self._pools: dict[str, TunnelPool] = {}
        self.closing: dict[GracefulClose, None] = {}
        """Streams in a graceful close."""

    def __len__(self) -> int:
        return len(self._pools)

    @property
    def idle_streams(self) -> int:
        """Number of idle streams in all pools."""
        return sum(map(len, self._pools.values()))

    def for_lease(self, lease: Lease, holder: Holder) -> TunnelPool:
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
        """Close everything at once."""
        for pool in list(self._pools.values()):
            pool.close(at_once=True)
        for closing_stream in list(self.closing):
            closing_stream.abort()

    def drop(self, pool: TunnelPool) -> None:
        """Forget a pool that is no longer used."""
        self._forget(pool)
        if self._pools.get(pool.lease.address) is pool:
            del self._pools[pool.lease.address]
            pool.lease.on_holder_lost = nothing  # which referred to the pool
