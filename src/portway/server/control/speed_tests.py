"""Speed tests that agents request: run on the session's links in the reactor, and reported to the operator."""

from collections.abc import Callable

from portway.engine.reactor import Reactor
from portway.errors import RefusedError, UnavailableError
from portway.protocol.control import codes
from portway.protocol.control.messages import Measure, Measured, Refused
from portway.protocol.proxy_header import encode_local
from portway.protocol.stream_status import StreamStatus
from portway.server.control.session import Session
from portway.server.events import EventSink, SpeedTested
from portway.session.login import refusal_of
from portway.session.speed import SECONDS_MAX, SPEED_TUNNEL, STREAMS_MAX, Payload, SpeedRun

TESTS_MAX = 4
"""Concurrent tests of all sessions: each uses all of its network path or of a core, and must not starve visitors."""


class SpeedTests:
    """All running tests. Synchronous; an agent cannot make the server send more than its own links accept."""

    def __init__(self, reactor: Reactor, on_event: EventSink, random_bytes: Callable[[int], bytes], *, allowed: bool = True) -> None:
        """Start without tests; `allowed` False refuses all."""
        self._reactor = reactor
        self._on_event = on_event
        self._payload = Payload(random_bytes)
        self._allowed = allowed
        self._running: dict[str, SpeedRun] = {}

    def __len__(self) -> int:
        return len(self._running)

    def begin(self, session: Session, request: Measure) -> Refused | None:
        """Start a test, whose result is sent to the session at its end; or return the refusal."""
        try:
            self._check(session, request)
        except RefusedError as refused:
            return refusal_of(refused, request.id)
        payload = self._payload.view if request.direction == "down" else None
        run = SpeedRun(
            self._reactor,
            streams=request.streams,
            seconds=request.seconds,
            payload=payload,
            on_finished=lambda: self._finish(session, request, run, began_at),
        )
        began_at = self._reactor.refresh_now()
        self._running[session.session_id] = run
        for _ in range(request.streams):
            _OpeningStream(session, run)
        return None

    def _check(self, session: Session, request: Measure) -> None:
        if not self._allowed:
            raise RefusedError(codes.SPEED_TEST_OFF, "speed tests are disabled on this server", "Ask its operator (--no-speed-test).")
        if not 0 < request.seconds <= SECONDS_MAX or not 0 < request.streams <= STREAMS_MAX:
            raise RefusedError(
                codes.SPEED_TEST_TOO_LARGE,
                f"a speed test of {request.streams} streams and {request.seconds:g} s, "
                f"this server allows 1 to {STREAMS_MAX} streams and at most {SECONDS_MAX:g} s",
                "Request a smaller test.",
            )
        if session.session_id in self._running:
            raise RefusedError(codes.SPEED_TEST_BUSY, "a speed test of this session is running", "Wait for its end.")
        if len(self._running) >= TESTS_MAX:
            raise RefusedError(codes.SPEED_TEST_BUSY, f"{TESTS_MAX} speed tests are running on this server", "Try again in a moment.")

    def _finish(self, session: Session, request: Measure, run: SpeedRun, began_at: float) -> None:
        del self._running[session.session_id]
        sample = run.sample()
        cpu = sample.cpu
        session.send(Measured(id=request.id, bytes=sample.bytes, seconds=sample.seconds, cpu_s=cpu.used_s, wait_s=cpu.waited_s))
        took_s = self._reactor.refresh_now() - began_at
        self._on_event(SpeedTested(session.session_id, session.token.name, request.direction, request.streams, run.moved, took_s))


class _OpeningStream:
    """One stream that is being opened to the agent."""

    __slots__ = ("_run", "_stream")

    def __init__(self, session: Session, run: SpeedRun) -> None:
        self._run = run
        try:
            self._stream = session.open(SPEED_TUNNEL, encode_local(SPEED_TUNNEL), self._on_status)
        except UnavailableError:
            run.stream_failed()

    def _on_status(self, status: StreamStatus | None) -> None:
        if status is StreamStatus.CONNECTED:
            self._run.add(self._stream)
            return
        self._run.stream_failed()
        if status is not None:
            self._stream.close()
