"""Speed tests that agents ask for: refused, or run on the session's links in the reactor, and told to the operator."""

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
"""Tests at a time, of all sessions: each takes what its line or a core can give, and visitors should not starve for figures."""


class SpeedTests:
    """All tests that run on this server. Synchronous; an agent cannot make it send more than its own links take."""

    def __init__(self, reactor: Reactor, on_event: EventSink, random_bytes: Callable[[int], bytes], *, allowed: bool = True) -> None:
        """Start with none; `allowed` False refuses all."""
        self._reactor = reactor
        self._on_event = on_event
        self._payload = Payload(random_bytes)
        self._allowed = allowed
        self._running: dict[str, SpeedRun] = {}

    def __len__(self) -> int:
        return len(self._running)

    def begin(self, session: Session, asked: Measure) -> Refused | None:
        """Run a test, whose answer goes to the session when it is over; or return why not."""
        try:
            self._check(session, asked)
        except RefusedError as refused:
            return refusal_of(refused, asked.id)
        payload = self._payload.view if asked.direction == "down" else None
        run = SpeedRun(
            self._reactor,
            streams=asked.streams,
            seconds=asked.seconds,
            payload=payload,
            on_over=lambda: self._over(session, asked, run, began_at),
        )
        began_at = self._reactor.refresh_now()
        self._running[session.session_id] = run
        for _ in range(asked.streams):
            _Opening(session, run)
        return None

    def _check(self, session: Session, asked: Measure) -> None:
        if not self._allowed:
            raise RefusedError(codes.SPEED_TEST_OFF, "this server allows no speed tests", "Ask its operator (--no-speed-test).")
        if not 0 < asked.seconds <= SECONDS_MAX or not 0 < asked.streams <= STREAMS_MAX:
            raise RefusedError(
                codes.SPEED_TEST_TOO_LARGE,
                f"a speed test of {asked.streams} streams and {asked.seconds:g} s, "
                f"this server takes 1 to {STREAMS_MAX} streams and at most {SECONDS_MAX:g} s",
                "Ask for less.",
            )
        if session.session_id in self._running:
            raise RefusedError(codes.SPEED_TEST_BUSY, "a speed test of this session is under way", "Wait for its end.")
        if len(self._running) >= TESTS_MAX:
            raise RefusedError(codes.SPEED_TEST_BUSY, f"{TESTS_MAX} speed tests are under way on this server", "Try again in a moment.")

    def _over(self, session: Session, asked: Measure, run: SpeedRun, began_at: float) -> None:
        del self._running[session.session_id]
        seen = run.stretch()
        cpu = seen.cpu
        session.send(Measured(id=asked.id, bytes=seen.bytes, seconds=seen.seconds, cpu_s=cpu.used_s, wait_s=cpu.waited_s))
        took_s = self._reactor.refresh_now() - began_at
        self._on_event(SpeedTested(session.session_id, session.token.name, asked.direction, asked.streams, run.moved, took_s))


class _Opening:
    """One stream on its way to the agent."""

    __slots__ = ("_run", "_stream")

    def __init__(self, session: Session, run: SpeedRun) -> None:
        self._run = run
        try:
            self._stream = session.open(SPEED_TUNNEL, encode_local(SPEED_TUNNEL), self._answered)
        except UnavailableError:
            run.miss()

    def _answered(self, status: StreamStatus | None) -> None:
        if status is StreamStatus.CONNECTED:
            self._run.add(self._stream)
            return
        self._run.miss()
        if status is not None:
            self._stream.close()
