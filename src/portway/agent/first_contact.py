"""Watches an agent until it is online for the first time: emits a diagnosis after a while, and gives up after a set time."""

import asyncio
from contextlib import suppress

from portway.agent.diagnosis import address_of, describe_wrong_server, with_advice
from portway.agent.events import AgentEvent, EventSink, Notice, Online
from portway.agent.settings import AgentSettings
from portway.clock import Clock, monotonic
from portway.errors import PortwayError, UnavailableError
from portway.links.dial import NOT_REACHABLE, DialError

NOTICE_AFTER_S = 10.0
"""As long as one dial may take. An agent that was never online more often has a wrong address than a server that is briefly
offline; but a machine that has just started may have no network yet, so that it keeps trying."""

FIRST_FAILURE_S = 1.0
"""How much longer to wait for the result of the first dial."""


class FirstContact:
    """Watches for the first login; receives the agent's events and passes them on."""

    def __init__(self, settings: AgentSettings, on_event: EventSink, clock: Clock = monotonic) -> None:
        """Pass events on to `on_event`; `watch` starts the watch."""
        self._settings = settings
        self._on_event = on_event
        self._clock = clock
        self._online = asyncio.Event()
        self._failed = asyncio.Event()
        self._error: PortwayError = DialError(f"{address_of(settings.join)} has not answered yet", NOT_REACHABLE, connected=True)

    def __call__(self, event: AgentEvent) -> None:
        """Record and pass on one event."""
        if isinstance(event, Online):
            self._online.set()
        self._on_event(event)

    def record_failure(self, error: PortwayError) -> None:
        """Record why a session failed."""
        self._error = error.with_traceback(None)
        self._error.__cause__ = self._error.__context__ = None  # they reference their frames
        self._failed.set()

    async def watch(self) -> UnavailableError | None:
        """Return None once the agent is online, or the error when `AgentSettings.connect_s_max` has passed."""
        began_at, limit_s = self._clock(), self._settings.connect_s_max
        wait_s = NOTICE_AFTER_S if limit_s is None else min(NOTICE_AFTER_S, limit_s)
        if await self._online_within(wait_s):
            return None
        if wait_s == NOTICE_AFTER_S:  # a dial that began at once may take as long
            with suppress(TimeoutError):
                async with asyncio.timeout(FIRST_FAILURE_S):
                    await self._failed.wait()
        found = await describe_wrong_server(self._settings.join, self._error, by_proxy=self._settings.proxy is not None)
        if self._online.is_set():
            return None
        if limit_s is None or self._clock() - began_at < limit_s:
            until = "without limit" if limit_s is None else f"for {limit_s:g} s in total"
            self._on_event(Notice(f"not online after {wait_s:g} s: {found or with_advice(self._error)}. Retrying {until}"))
            if await self._online_within(None if limit_s is None else began_at + limit_s - self._clock()):
                return None
        return UnavailableError(f"not online within {limit_s:g} s: {found or with_advice(self._error)}")

    async def _online_within(self, seconds: float | None) -> bool:
        """Wait at most `seconds` (None: without limit); return whether the agent is online."""
        try:
            async with asyncio.timeout(seconds):
                await self._online.wait()
        except TimeoutError:
            return False
        return True
