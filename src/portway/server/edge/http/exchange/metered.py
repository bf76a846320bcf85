"""An exchange whose bytes are counted: its tunnel has limits, or somebody wants to hear of each one that is over."""

from portway.engine.channel import Channel
from portway.engine.gate import Gate, Quota
from portway.engine.limits import LimitEnforcer, Scopes
from portway.engine.reactor import Reactor
from portway.engine.tally import ABORTED, ENDED, IDLE, LIFETIME, PAYLOAD, READ_BROKE, TOO_SLOW, WRITE_BROKE, Flow
from portway.errors import UnavailableError
from portway.protocol.http1.response import ResponseHead
from portway.protocol.stream_status import StreamStatus
from portway.server.edge.http.buffers import ChannelReader
from portway.server.edge.http.exchange.body_pumps import PumpResult, ReframingPump, SizedPump
from portway.server.edge.http.exchange.exchange import Exchange
from portway.server.edge.http.exchange.shaping import shaper_for
from portway.server.edge.http.head_cache import CachedRequest, CachedResponse
from portway.server.edge.http.interfaces import ExchangeOwner
from portway.server.edge.http.origin.pool import TunnelPool
from portway.server.edge.http.origin.stream import OriginStream
from portway.server.edge.http.settings import HttpEdgeSettings
from portway.server.events import RequestDone

_IN_WORDS = {
    IDLE: "nothing went either way for as long as this tunnel allows",
    TOO_SLOW: "it was slower than this tunnel allows",
    LIFETIME: "it took longer than this tunnel allows",
    PAYLOAD: "it is more than this tunnel lets through",
}
"""What a visitor is told whose answer a limit came before."""


class MeteredExchange(Exchange):
    """What an exchange has more when it is limited or told of; see `engine.limits.Limited` for the former.

    Payload is what bodies carry, without heads and framing; rates shape all that goes over the wire. What ends before its
    answer has begun is answered, with 504, 408 or 413; afterwards the visitor's connection is broken.
    """

    __slots__ = (
        *("_ending", "_forward_ended_at", "_gate", "_limits", "_pumps", "_quota", "_scopes"),
        *("_relay_id", "_started_at", "_whole_bytes", "_why"),
    )

    def __init__(
        self, reactor: Reactor, settings: HttpEdgeSettings, visitor: ExchangeOwner, asked: CachedRequest, pool: TunnelPool
    ) -> None:
        """Stand ready for `start`."""
        super().__init__(reactor, settings, visitor, asked, pool)
        self._scopes: Scopes = pool.lease.scopes
        self._limits: LimitEnforcer | None = None
        self._quota: Quota | None = None
        self._gate: Gate | None = None
        self._pumps: list[SizedPump | ReframingPump | None] = [None, None]
        self._whole_bytes = 0
        self._started_at = reactor.now
        self._forward_ended_at: float | None = None
        self._ending: tuple[str, str] | None = None
        self._why = ""
        self._relay_id = ""

    def start(self, *, tried_before: bool = False) -> None:
        """Begin, within the limits; refuse a body that is announced as longer than they allow, before any of it is sent on.

        Raises:
            UnavailableError: as `Exchange.start`.
        """
        visitor, scopes = self._visitor, self._scopes
        if scopes or visitor.shaping is not None:
            visitor.shaping = shaper_for(visitor.shaping, self._reactor, visitor.channel, visitor.outlet, scopes)
        self._limit()
        if self._quota is not None and self._asked.request.body > self._quota.left:
            self._spent_before_answer()
            return
        try:
            super().start(tried_before=tried_before)
        except UnavailableError:
            self._unlimit()
            raise

    def _limit(self) -> None:
        if self._scopes and self._limits is None:
            self._limits = LimitEnforcer(self._reactor, self, self._scopes)
            self._quota = self._limits.quota()

    # ------------------------------------------------------------------------------------------ what its limits ask of it

    @property
    def moved_bytes(self) -> int:
        """Return what went either way; heads are signs of life."""
        return sum(flow.total_bytes for flow in self._flows("")) + self._interims + (self._response is not None)

    def outgoing_channels(self) -> tuple[Channel, ...]:
        """Return where bytes may be on their way when the quota is used up: an answer's end."""
        return (self._visitor.channel,)

    def stop(self, reason: str) -> None:
        """Move nothing more."""
        self._settle(reason, reason)
        self._upload = self._download = None

    def end(self, reason: str) -> None:
        """Answer in the origin's place, or break off what has begun."""
        self._settle(reason, reason)
        self.expire()

    def _spent(self, pump: SizedPump | ReframingPump) -> None:
        quota = self._quota
        if quota is None:
            return
        if pump is self._download:
            quota.on_spent()  # which breaks off once all of it has arrived
        else:
            self._spent_before_answer()

    def _spent_before_answer(self) -> None:
        self._settle(PAYLOAD, PAYLOAD)
        self._end_stream()
        self._refuse("body_too_large", complete=False)

    # -------------------------------------------------------------------------------------------------- what it does more

    def _send(self, stream: OriginStream) -> None:
        self._ending = None  # of a first try, whose limits are gone as well
        self._limit()
        self._relay_id = stream.unique_id.hex()
        shaping = self._visitor.shaping
        self._gate = None if shaping is None else shaping.gate(stream.channel)
        if self._gate is not None:
            stream.outlet.channel = self._gate
        super()._send(stream)
        self._look_at_request()

    def run_upload(self) -> None:
        """Move the request's body on, and note when it is through."""
        super().run_upload()
        self._look_at_request()

    def _look_at_request(self) -> None:
        if self._upload is None and self._forward_ended_at is None and self._ending is None:
            self._forward_ended_at = self._reactor.now

    def _body_begins(self, pump: SizedPump | ReframingPump) -> None:
        self._pumps[pump is self._download] = pump
        pump.quota = self._quota

    def _answer(self, answered: CachedResponse, inlet: ChannelReader, data: bytes, size: int) -> None:
        body, quota = answered.response.body, self._quota
        if 0 <= body <= len(data) - size:
            if quota is not None and body > quota.left:
                data = data[:size]  # not all at once: a pump stops where the quota ends
            else:
                self._whole_bytes = body
        super()._answer(answered, inlet, data, size)

    def _finish(self) -> None:
        self._unlimit()
        super()._finish()

    def _switch(self, response: ResponseHead) -> None:
        self._unlimit()
        super()._switch(response)

    def _end_stream(self) -> None:
        self._unlimit()
        super()._end_stream()

    def _unlimit(self) -> None:
        """Let go of what limits it, and give the stream back its own way out."""
        limits, self._limits = self._limits, None
        if limits is not None:
            limits.close()
        gate, self._gate = self._gate, None
        if gate is not None:
            gate.release()
            if self._stream is not None:
                self._stream.outlet.channel = self._stream.channel

    def _keep_time(self, pump: SizedPump | ReframingPump, flow: PumpResult) -> None:
        if flow is PumpResult.QUOTA_EXCEEDED:
            self._spent(pump)
        else:
            super()._keep_time(pump, flow)

    # ---------------------------------------------------------------------------------------------------- how it ended

    def visitor_broke(self) -> None:
        """Note who left."""
        self._settle(READ_BROKE, WRITE_BROKE)
        super().visitor_broke()

    def expire(self) -> None:
        """Note that nobody was waited for any longer."""
        self._settle(ABORTED, ABORTED, "a deadline of this server has passed")
        super().expire()

    def abort(self) -> None:
        """Note that this end broke it off."""
        self._settle(ABORTED, ABORTED, "this server ended it")
        super().abort()

    def _truncate(self, why: str) -> None:
        self._settle(WRITE_BROKE, READ_BROKE)
        super()._truncate(why)

    def _origin_failed(self) -> None:
        self._settle(WRITE_BROKE, READ_BROKE)
        super()._origin_failed()

    def origin_refused(self, status: StreamStatus | None) -> None:
        """Note that there was no way to the origin."""
        self._settle(WRITE_BROKE, READ_BROKE)
        super().origin_refused(status)

    def _refuse(self, code: str, detail: str = "", *, complete: bool) -> None:
        self._settle(ABORTED, ABORTED)
        self._why = self._why or code
        limit = self._ending[1] if self._ending is not None else ""
        super()._refuse(code, detail or _IN_WORDS.get(limit, ""), complete=complete)

    def _settle(self, forward: str, backward: str, why: str = "") -> None:
        """Note why both ways end; the first reason is the one."""
        if self._ending is None:
            self._ending, self._why = (forward, backward), why

    def done(self, status: int, visitor: str | None) -> RequestDone:
        """Return what is told of it, once the visitor has its answer, all that there will be."""
        if self._ending is None and self._forward_ended_at is None:
            self._settle(ABORTED, ENDED, "the origin answered before it had the whole request")
        asked, pool = self._asked, self._pool
        forward, backward = self._flows(ENDED)
        return RequestDone(self._relay_id, pool.tunnel_id, asked.method, status, forward, backward, self._why, visitor)

    def _flows(self, proper: str) -> tuple[Flow, Flow]:
        """Return what went each way so far; `proper` is the word for a way without trouble."""
        up, down = self._pumps
        lasted = self._reactor.now - self._started_at
        why_up, why_down = self._ending or (proper, proper)
        if self._forward_ended_at is not None:
            why_up, sent_for = ENDED, self._forward_ended_at - self._started_at
        else:
            sent_for = lasted
        whole = self._whole_bytes
        forward = Flow(0 if up is None else up.moved, 0 if up is None else up.events, why_up, sent_for)
        backward = Flow(whole if down is None else down.moved, min(1, whole) if down is None else down.events, why_down, lasted)
        return forward, backward
