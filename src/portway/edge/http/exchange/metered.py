"""An exchange that counts bytes and enforces limits."""

from portway.edge.events import RequestDone
from portway.edge.http.buffers import ChannelReader
from portway.edge.http.exchange.body_pumps import PumpResult, ReframingPump, SizedPump
from portway.edge.http.exchange.exchange import Exchange
from portway.edge.http.exchange.shaping import shaper_for
from portway.edge.http.head_cache import CachedRequest, CachedResponse
from portway.edge.http.interfaces import ExchangeOwner
from portway.edge.http.origin.pool import TunnelPool
from portway.edge.http.origin.stream import OriginStream
from portway.edge.http.refusal import Refusal
from portway.edge.http.settings import HttpEdgeSettings
from portway.engine.channel import Channel
from portway.engine.gate import Gate, Quota
from portway.engine.limits import LimitEnforcer, Scopes
from portway.engine.reactor import Reactor
from portway.engine.tally import ABORTED, ENDED, IDLE, LIFETIME, PAYLOAD, READ_BROKE, TOO_SLOW, WRITE_BROKE, Flow
from portway.errors import UnavailableError
from portway.protocol.http1.response import ResponseHead
from portway.protocol.stream_status import StreamStatus

_LIMIT_TEXT = {
    IDLE: "idle for longer than this tunnel allows",
    TOO_SLOW: "slower than this tunnel allows",
    LIFETIME: "longer than this tunnel allows",
    PAYLOAD: "larger than this tunnel allows",
}
"""Detail of the error response, if a limit ends an exchange before its response."""


class MeteredExchange(Exchange):
    """An exchange that enforces limits (see `engine.limits.Limited`) and reports its byte counts.

    Payload is the content of bodies, without heads and framing; rates shape all bytes on the connection. A limit that is reached
    before the response has begun sends 504, 408 or 413; afterwards it breaks the visitor's connection.
    """

    __slots__ = (
        *("_end_reasons", "_forward_ended_at", "_gate", "_limits", "_pumps", "_quota", "_scopes"),
        *("_relay_id", "_started_at", "_inline_body_bytes", "_detail"),
    )

    def __init__(
        self, reactor: Reactor, settings: HttpEdgeSettings, visitor: ExchangeOwner, cached: CachedRequest, pool: TunnelPool
    ) -> None:
        """Prepare for `start`."""
        super().__init__(reactor, settings, visitor, cached, pool)
        self._scopes: Scopes = pool.lease.scopes
        self._limits: LimitEnforcer | None = None
        self._quota: Quota | None = None
        self._gate: Gate | None = None
        self._pumps: list[SizedPump | ReframingPump | None] = [None, None]
        self._inline_body_bytes = 0
        self._started_at = reactor.now
        self._forward_ended_at: float | None = None
        self._end_reasons: tuple[str, str] | None = None
        self._detail = ""
        self._relay_id = ""

    def start(self, *, is_retry: bool = False) -> None:
        """Start within the limits; reject a body whose announced length exceeds them, before any of it is forwarded.

        Raises:
            UnavailableError: as `Exchange.start`.
        """
        visitor, scopes = self._visitor, self._scopes
        if scopes or visitor.shaper is not None:
            visitor.shaper = shaper_for(visitor.shaper, self._reactor, visitor.channel, visitor.writer, scopes)
        self._start_limits()
        if self._quota is not None and self._cached_request.request.body > self._quota.left:
            self._reject_oversized()
            return
        try:
            super().start(is_retry=is_retry)
        except UnavailableError:
            self._stop_limits()
            raise

    def _start_limits(self) -> None:
        if self._scopes and self._limits is None:
            self._limits = LimitEnforcer(self._reactor, self, self._scopes)
            self._quota = self._limits.quota()

    # ------------------------------------------------------------------------------------- called by the limit enforcer

    @property
    def moved_bytes(self) -> int:
        """Bytes moved in both directions; heads count as activity."""
        return sum(flow.total_bytes for flow in self._flows("")) + self._interim_bytes + (self._response is not None)

    def outgoing_channels(self) -> tuple[Channel, ...]:
        """Return the channels that may still hold bytes when the quota is used up: those of the response."""
        return (self._visitor.channel,)

    def stop(self, reason: str) -> None:
        """Stop moving bytes."""
        self._set_end_reason(reason, reason)
        self._upload = self._download = None

    def end(self, reason: str) -> None:
        """Send an error response, or break a response that has begun."""
        self._set_end_reason(reason, reason)
        self.expire()

    def _on_quota_used(self, pump: SizedPump | ReframingPump) -> None:
        quota = self._quota
        if quota is None:
            return
        if pump is self._download:
            quota.on_spent()  # which breaks the connection after all of it has arrived
        else:
            self._reject_oversized()

    def _reject_oversized(self) -> None:
        self._set_end_reason(PAYLOAD, PAYLOAD)
        self._end_stream()
        self._send_error("body_too_large", complete=False)

    # ---------------------------------------------------------------------------------------------- added to an exchange

    def _send_request(self, stream: OriginStream) -> None:
        self._end_reasons = None  # of a first attempt, whose limits have ended as well
        self._start_limits()
        self._relay_id = stream.unique_id.hex()
        shaper = self._visitor.shaper
        self._gate = None if shaper is None else shaper.gate(stream.channel)
        if self._gate is not None:
            stream.writer.channel = self._gate
        super()._send_request(stream)
        self._check_upload_finished()

    def run_upload(self) -> None:
        """Continue the request's body, and record its end."""
        super().run_upload()
        self._check_upload_finished()

    def _check_upload_finished(self) -> None:
        if self._upload is None and self._forward_ended_at is None and self._end_reasons is None:
            self._forward_ended_at = self._reactor.now

    def _on_body_start(self, pump: SizedPump | ReframingPump) -> None:
        self._pumps[pump is self._download] = pump
        pump.quota = self._quota

    def _start_response(self, cached_response: CachedResponse, reader: ChannelReader, data: bytes, size: int) -> None:
        body, quota = cached_response.response.body, self._quota
        if 0 <= body <= len(data) - size:
            if quota is not None and body > quota.left:
                data = data[:size]  # not all at once: the pump stops at the quota
            else:
                self._inline_body_bytes = body
        super()._start_response(cached_response, reader, data, size)

    def _finish(self) -> None:
        self._stop_limits()
        super()._finish()

    def _upgrade(self, response: ResponseHead) -> None:
        self._stop_limits()
        super()._upgrade(response)

    def _end_stream(self) -> None:
        self._stop_limits()
        super()._end_stream()

    def _stop_limits(self) -> None:
        """Stop the limits, and remove the gate from the stream."""
        limits, self._limits = self._limits, None
        if limits is not None:
            limits.close()
        gate, self._gate = self._gate, None
        if gate is not None:
            gate.release()
            if self._stream is not None:
                self._stream.writer.channel = self._stream.channel

    def _update_deadline(self, pump: SizedPump | ReframingPump, result: PumpResult) -> None:
        if result is PumpResult.QUOTA_EXCEEDED:
            self._on_quota_used(pump)
        else:
            super()._update_deadline(pump, result)

    # ---------------------------------------------------------------------------------------------------- why it ended

    def on_visitor_broken(self) -> None:
        """Record that the visitor's connection broke."""
        self._set_end_reason(READ_BROKE, WRITE_BROKE)
        super().on_visitor_broken()

    def expire(self) -> None:
        """Record that a deadline passed."""
        self._set_end_reason(ABORTED, ABORTED, "a deadline of this server has passed")
        super().expire()

    def abort(self) -> None:
        """Record that this server ended it."""
        self._set_end_reason(ABORTED, ABORTED, "this server ended it")
        super().abort()

    def _truncate(self, reason: str) -> None:
        self._set_end_reason(WRITE_BROKE, READ_BROKE)
        super()._truncate(reason)

    def _on_origin_failed(self) -> None:
        self._set_end_reason(WRITE_BROKE, READ_BROKE)
        super()._on_origin_failed()

    def on_origin_refused(self, status: StreamStatus | Refusal | None) -> None:
        """Record that the origin was not reached."""
        self._set_end_reason(WRITE_BROKE, READ_BROKE)
        super().on_origin_refused(status)

    def _send_error(self, code: str, detail: str = "", *, complete: bool) -> None:
        self._set_end_reason(ABORTED, ABORTED)
        self._detail = self._detail or code
        limit = self._end_reasons[1] if self._end_reasons is not None else ""
        super()._send_error(code, detail or _LIMIT_TEXT.get(limit, ""), complete=complete)

    def _set_end_reason(self, forward: str, backward: str, reason: str = "") -> None:
        """Record why both directions end; only the first reason counts."""
        if self._end_reasons is None:
            self._end_reasons, self._detail = (forward, backward), reason

    def finished_event(self, status: int, visitor: str | None, scheme: str) -> RequestDone:
        """Return the event of a finished exchange; `visitor` is the address to report, if any, `scheme` that of the request."""
        if self._end_reasons is None and self._forward_ended_at is None:
            self._set_end_reason(ABORTED, ENDED, "the origin answered before it had the whole request")
        cached, pool = self._cached_request, self._pool
        forward, backward = self._flows(ENDED)
        return RequestDone(self._relay_id, pool.tunnel_id, cached.method, status, forward, backward, self._detail, visitor, scheme)

    def _flows(self, normal_end: str) -> tuple[Flow, Flow]:
        """Return the counts of both directions so far; `normal_end` is the reason for a direction without an error."""
        up, down = self._pumps
        lasted = self._reactor.now - self._started_at
        why_up, why_down = self._end_reasons or (normal_end, normal_end)
        if self._forward_ended_at is not None:
            why_up, sent_for = ENDED, self._forward_ended_at - self._started_at
        else:
            sent_for = lasted
        whole = self._inline_body_bytes
        forward = Flow(0 if up is None else up.moved, 0 if up is None else up.events, why_up, sent_for)
        backward = Flow(whole if down is None else down.moved, min(1, whole) if down is None else down.events, why_down, lasted)
        return forward, backward
