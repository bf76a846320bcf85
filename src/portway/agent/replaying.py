"""Sends one request to an origin over a connection of its own, and captures the exchange like that of a visitor."""

from concurrent.futures import Future, InvalidStateError

from portway.agent.origin_connector import OriginConnector
from portway.agent.origins import Origins, end_reason_text
from portway.agent.target import Target, parse_target
from portway.engine.channel import BLOCKED, Channel, nothing
from portway.engine.memory_channel import memory_pair
from portway.engine.reactor import Reactor
from portway.engine.relay import Relay
from portway.engine.timers import Timer
from portway.errors import BrokenChannel, ConfigError, PortwayError, UnavailableError
from portway.inspector.exchange import Exchange
from portway.inspector.interfaces import ReplayOutcome, ReplayRequest
from portway.inspector.recorder import Recorder
from portway.inspector.tap import HttpTap
from portway.protocol.stream_status import StreamStatus

REPLAY_S_MAX = 30.0
"""For connection, request and response; an endless response is ended then, and shown as far as it came."""

STORE_S_MAX = 5.0
"""How long storing the exchange may take after its end."""

END_OF_HEAD = b"\r\n\r\n"
UNREACHED_STATUS = 0


class Replay:
    """One replay. Used from the reactor's thread; `result` is set once, from there or from the recorder's thread."""

    def __init__(
        self, reactor: Reactor, origins: Origins, recorder: Recorder, request: ReplayRequest, result: "Future[ReplayOutcome]"
    ) -> None:
        """Prepare; `start` begins."""
        self._reactor = reactor
        self._origins = origins
        self._recorder = recorder
        self._request = request
        self._result = result
        self._unsent = memoryview(request.data)
        self._tunnel = request.tunnel._replace(target=request.to) if request.to else request.tunnel
        self._connector: OriginConnector | None = None
        self._relay: Relay | None = None
        self._tap: HttpTap | None = None
        self._near: Channel | None = None
        self._timer: Timer | None = None
        self._started_at = reactor.refresh_now()

    def start(self) -> None:
        """Connect to the origin."""
        try:
            target = self._target()
        except PortwayError as exc:
            self._fail(exc)
            return
        self._timer = self._reactor.call_later(REPLAY_S_MAX, self._time_out)
        self._connector = self._origins.connector_to(target, self._on_connected)
        self._connector.connect()

    def abort(self, reason: str) -> None:
        """End without a result."""
        if self._connector is not None:
            self._connector.abort()
        self._close()
        self._fail(UnavailableError(reason))

    def _target(self) -> Target:
        """Return where to connect.

        Raises:
            ConfigError: `to` is invalid, or the tunnel's origin is a folder of another agent.
        """
        if self._request.to:
            try:
                return parse_target(self._request.to)
            except ConfigError as exc:
                raise ConfigError(str(exc).replace("TARGET", "to:", 1)) from exc
        found = self._origins.target_of_tunnel(self._tunnel.target)
        if found is not None:
            return found
        try:
            return parse_target(self._tunnel.target)
        except ConfigError as exc:
            raise UnavailableError(f"the tunnel of this request is not open any more, and its origin is unknown: {exc}") from exc

    def _on_connected(self, outcome: Channel | StreamStatus) -> None:
        reason, self._connector = "" if self._connector is None else self._connector.reason, None
        took_s = self._reactor.now - self._started_at
        self._tap = self._recorder.open_tap(self._tunnel, took_s, self._request.replay_of)
        self._tap.on_stored = self._on_stored
        if isinstance(outcome, StreamStatus):
            head = self._request.data.partition(END_OF_HEAD)[0] + END_OF_HEAD
            self._tap.fail(head, UNREACHED_STATUS, reason or outcome.description)
            self._await_storage()
            return
        self._tap.on_finished = self._on_finished
        near, far = memory_pair(self._reactor)
        self._near = near
        near.on_readable = self._discard
        near.on_writable = self._send
        self._relay = Relay(self._reactor, far, outcome, self._on_relay_done, (), self._tap.sinks)
        self._relay.start()
        self._send()
        self._discard()

    def _send(self) -> None:
        near = self._near
        try:
            while near is not None and self._unsent and near.room():
                self._unsent = self._unsent[near.send(self._unsent) :]
        except BrokenChannel:
            pass  # the relay ends, and reports why

    def _discard(self) -> None:
        """Read the response, which the tap has parsed already."""
        near = self._near
        try:
            while near is not None and near.recv_into(self._reactor.scratch_body) not in (BLOCKED, 0):
                pass
        except BrokenChannel:
            pass

    def _on_finished(self, _exchange: Exchange) -> None:
        """End the connection once the response is complete; not from within the relay's own turn."""
        self._reactor.call_soon(self._close)

    def _on_relay_done(self, relay: Relay) -> None:
        self._relay = None
        if self._tap is not None:
            self._tap.close(end_reason_text(relay.tally))
            self._tap = None
        self._await_storage()

    def _close(self) -> None:
        near, self._near = self._near, None
        if near is not None:
            near.on_readable = near.on_writable = nothing
            near.abort()
        if self._relay is not None:
            self._relay.abort("the replay ended")

    def _await_storage(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._reactor.call_later(STORE_S_MAX, self._not_stored)

    def _time_out(self) -> None:
        if self._connector is not None:
            self._connector.abort()
            self._fail(UnavailableError(f"the origin did not accept a connection within {REPLAY_S_MAX:g} s"))
        self._close()

    def _not_stored(self) -> None:
        self._fail(UnavailableError("the replay was sent, but could not be stored: see /api/status"))

    def _on_stored(self, exchange: Exchange) -> None:
        """Called by the recorder's thread."""
        if not exchange.row:
            return
        try:
            self._result.set_result(ReplayOutcome(exchange.row, exchange.status, exchange.error))
        except InvalidStateError:
            pass  # too late

    def _fail(self, error: PortwayError) -> None:
        if self._timer is not None:
            self._timer.cancel()
        try:
            self._result.set_exception(error)
        except InvalidStateError:
            pass
