"""Joins an agent with its inspector: names its tunnels, reports its state, and sends replays."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from portway.agent.events import AgentEvent, EventSink, InspectorUp, Notice, Online, RoundTrip
from portway.agent.origins import Origins
from portway.agent.replaying import Replay
from portway.agent.settings import AgentSettings
from portway.agent.status import AgentStatusTracker
from portway.clock import wall
from portway.engine.reactor import Reactor
from portway.engine.timers import Timer
from portway.errors import UnavailableError
from portway.inspector.interfaces import ReplayOutcome, ReplayRequest
from portway.inspector.recorder import ANNOUNCE_S
from portway.inspector.service import Inspector
from portway.inspector.settings import InspectorSettings

T = TypeVar("T")


class Inspection:
    """The inspector of one agent. Its public methods `status` and `replay` are for the threads of the inspector (`AgentPort`)."""

    def __init__(self, reactor: Reactor, settings: AgentSettings, inspector: InspectorSettings, on_event: EventSink) -> None:
        """Start the inspector; requires a running loop. `on_event` receives the agent's events.

        Raises:
            ConfigError: no port is free, or a pattern is invalid.
        """
        self._reactor = reactor
        self._loop = asyncio.get_running_loop()
        self._emit = on_event
        self._origins: Origins | None = None
        self._timer: Timer | None = None
        self._tracker = AgentStatusTracker(f"{settings.join.host}:{settings.join.port}", wall)
        self._replays: set[Replay] = set()
        self._inspector = Inspector(inspector, self)
        self.recorder = self._inspector.recorder

    def on_event(self, event: AgentEvent) -> None:
        """Handle one event of the agent, and pass it on."""
        self._tracker(event)
        if isinstance(event, Online | RoundTrip):
            self.recorder.rtt_s = event.rtt_s
        self._emit(event)

    def start(self, origins: Origins) -> None:
        """Capture the streams of `origins`."""
        self._origins = origins
        self._tracker.moved = origins.moved
        origins.recorder = self.recorder
        inspector = self._inspector
        self.on_event(InspectorUp(inspector.url, inspector.page_url))
        if inspector.problem:
            self.on_event(Notice(f"captured requests are not saved: {inspector.problem}"))
        self._announce()

    async def close(self) -> None:
        """Store what was captured, and end the inspector."""
        if self._timer is not None:
            self._timer.cancel()
        if self._origins is not None:
            self._origins.recorder = None
        for replay in list(self._replays):
            replay.abort("the agent stopped")
        await asyncio.to_thread(self._inspector.close)

    def status(self) -> "Future[bytes]":
        """Return the agent's status as JSON."""
        return self._in_loop(self._tracker.to_json)

    def replay(self, request: ReplayRequest) -> "Future[ReplayOutcome]":
        """Send a request, and capture it like a visitor's."""
        result: Future[ReplayOutcome] = Future()

        def start() -> None:
            if self._origins is None or self._origins.recorder is None:
                result.set_exception(UnavailableError("the agent is starting or stopping"))
                return
            replay = Replay(self._reactor, self._origins, self.recorder, request, result)
            self._replays.add(replay)
            result.add_done_callback(lambda _: self._replays.discard(replay))
            replay.start()

        self._loop.call_soon_threadsafe(start)
        return result

    def _in_loop(self, call: Callable[[], T]) -> "Future[T]":
        result: Future[T] = Future()

        def run() -> None:
            if result.set_running_or_notify_cancel():
                try:
                    result.set_result(call())
                except Exception as exc:  # noqa: BLE001 - raised in the thread that asked
                    result.set_exception(exc)

        self._loop.call_soon_threadsafe(run)
        return result

    def _announce(self) -> None:
        self.recorder.announce()
        self._timer = self._reactor.call_later(ANNOUNCE_S, self._announce)
