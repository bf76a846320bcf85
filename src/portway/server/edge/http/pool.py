"""Idle streams to one tunnel's origin, kept so that a request costs no set-up."""

from collections.abc import Callable

from portway.engine.reactor import Reactor
from portway.engine.timers import Timer
from portway.errors import UnavailableError
from portway.protocol.http1.head_changes import rewriter_of
from portway.protocol.proxy_header import encode_local
from portway.server.edge.http.answered import AnsweredBefore
from portway.server.edge.http.farewell import Farewell
from portway.server.edge.http.origin_stream import OriginStream
from portway.server.edge.http.pin import Pin, PinOwner
from portway.server.edge.http.settings import HttpEdgeSettings
from portway.server.tunnels.lease import Holder, Lease

LOOK_S = 0.05
"""How often those in line look for a stream by themselves: streams that break and links that open tell nobody here."""
SERVED_AT_ONCE = 256
"""Visitors that a turn of the loop takes out of the line at most, so that others have their turn too."""


class TunnelPool:
    """One grant of one lease: what stays the same for all its requests, and its idle streams.

    A later grant gets a pool of its own, so that no stream outlives the session, or the owner, that it was opened for.
    Streams come back only after request and answer both ended cleanly; the last one in is the first one out, so that
    what is not needed grows old.
    """

    __slots__ = (
        *("_idle", "_look", "_pinned", "_pools", "_reactor", "_retired", "_settings"),
        *("answered", "deadline", "farewells", "header", "holder", "lease", "line", "pins", "rewriter", "tunnel_id"),
    )

    def __init__(self, pools: "Pools", reactor: Reactor, settings: HttpEdgeSettings, lease: Lease, holder: Holder) -> None:
        """Serve `lease` as `holder` has it now, as one of `pools`."""
        self._reactor = reactor
        self._settings = settings
        self._pools = pools
        self.farewells = pools.farewells
        self._retired = False
        self._idle: list[OriginStream] = []
        self.rewriter = rewriter_of(lease.address, settings.domain, lease.rewrite)
        """What changes in heads on their way."""
        self.answered = AnsweredBefore(self.rewriter, settings.answer_limits)
        """What its origin said lately."""
        self.lease = lease
        self.holder = holder
        self.tunnel_id = lease.tunnel_id
        self.header = encode_local(lease.tunnel_id)
        """The preamble of streams that several visitors use: it names none of them."""
        self.line: dict[object, Callable[[], None]] = {}
        """Visitors for whom there is no stream as all links are full, in the order in which they came; each with what has
        him try again. They leave by themselves, once served. As many as there are visitors; each keeps his request's head."""
        self.pins: dict[Pin, None] = {}
        """Streams of one visitor each, without a request, the one that rests longest first. At most one for a visitor."""
        self._pinned: dict[OriginStream, None] = {}
        self._look: Timer | None = None
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
        """Return an idle stream, or None; for a request that is not `repeatable` only one that served just now."""
        idle = self._idle
        if not idle:
            return None
        oldest = self._reactor.now - (self._settings.pool_idle_s if repeatable else self._settings.pool_fresh_s)
        while idle and idle[-1].idle_since >= oldest:
            stream = idle.pop()
            if stream.is_dry():
                return stream
            stream.abort()
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
            header = encode_local(self.tunnel_id, stream.unique_id)
        stream.attach(self._reactor, self.holder.open(self.tunnel_id, header, stream.on_status))
        return stream

    def give_back(self, stream: OriginStream) -> None:
        """Keep a stream whose last exchange ended cleanly on both ways, if it is dry and there is room for it."""
        stream.user = None
        full = len(self._idle) >= self._settings.pool_idle_max and not self.line
        if self._retired or full or stream.leaving or stream.outlet.rest is not None or not stream.is_dry():
            stream.leave()
            return
        stream.idle_since = self._reactor.now
        self._idle.append(stream)
        if self.line:
            self._reactor.soon(self._serve_line)

    def pin(self, stream: OriginStream) -> None:
        """Keep `stream` for the visitor whose request it carries."""
        stream.pinned = True
        self._pinned[stream] = None

    def keep_for(self, stream: OriginStream, owner: PinOwner) -> bool:
        """Keep a pinned stream for its visitor's next request; False when it had to end instead."""
        if self._retired or stream.leaving or not stream.is_dry():
            stream.leave()
            return False
        Pin(stream, owner, self)
        return True

    def unpin(self, stream: OriginStream) -> None:
        """Forget a pinned stream: it has ended."""
        self._pinned.pop(stream, None)

    def stand_in_line(self, who: object, try_again: Callable[[], None]) -> None:
        """Let `who` try again when it is his turn; he keeps his place until he takes himself out of `line`."""
        self.line[who] = try_again
        if self._look is None:
            self._look = self._reactor.call_later(LOOK_S, self._look_again)

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
            self._reactor.soon(self._serve_line)
        if self._look is None and line:
            self._look = self._reactor.call_later(LOOK_S, self._look_again)

    def discard(self, stream: OriginStream) -> None:
        """Drop an idle stream that got bytes, ended or broke."""
        if stream in self._idle and not stream.is_dry():
            self._idle.remove(stream)
            stream.abort()

    def expire(self) -> None:
        """Let go of streams that grew old, and of the pool itself once it is empty and was not used."""
        now = self._reactor.now
        if self.deadline > now:
            return
        old = now - self._settings.pool_idle_s
        kept = [stream for stream in self._idle if stream.idle_since > old]
        for stream in self._idle[: len(self._idle) - len(kept)]:
            stream.leave()
        self._idle = kept
        if kept or self.line or self._pinned:
            self.deadline = (kept[0].idle_since if kept else now) + self._settings.pool_idle_s
        else:
            self.close()

    def close(self, *, at_once: bool = False) -> None:
        """Let go of all idle streams; those in use are not kept when they come back."""
        if not self._retired:
            self._retired = True
            if self._look is not None:
                self._look.cancel()
            for try_again in self.line.values():
                self._reactor.soon(try_again)
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


class Pools:
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
        self.farewells: dict[Farewell, None] = {}
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
