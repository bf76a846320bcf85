"""Watches whether an agent gets online at all: says after a while what is wrong, and gives up when it was told to."""

import asyncio
from collections.abc import Callable
from contextlib import suppress

from portway.agent.diagnosis import address_of, advice, wrong_server
from portway.agent.events import AgentEvent, Notice, Online
from portway.agent.settings import AgentSettings
from portway.clock import Clock, monotonic
from portway.errors import PortwayError, UnavailableError
from portway.links.dial import NOT_REACHABLE, DialError

TELL_AFTER_S = 10.0
"""As long as one dial may take. An agent that was never online has a wrong address more often than a server that is away for a
moment; but a machine that has just started may have no network yet, so that it goes on trying."""


FIRST_FAILURE_S = 1.0
"""How much longer to wait for the outcome of the first dial."""


class FirstContact:
    """The time before an agent is online for the first time; a listener to its events, which it passes on."""

    def __init__(self, settings: AgentSettings, on_event: Callable[[AgentEvent], None], clock: Clock = monotonic) -> None:
        """Nothing happens before `watch`."""
        self._settings = settings
        self._on_event = on_event
        self._clock = clock
        self._online = asyncio.Event()
        self._failed = asyncio.Event()
        self._error: PortwayError = DialError(f"{address_of(settings.join)} has not answered yet", NOT_REACHABLE, connected=True)

    def __call__(self, event: AgentEvent) -> None:
        """Take one event in."""
        if isinstance(event, Online):
            self._online.set()
        self._on_event(event)

    def failed(self, error: PortwayError) -> None:
        """Note why a session could not be had."""
        self._error = error.with_traceback(None)
        self._error.__cause__ = self._error.__context__ = None  # which hold their frames
        self._failed.set()

    async def watch(self) -> UnavailableError | None:
        """Return None once the agent is online, or why it shall not try any longer (`AgentSettings.connect_s_max`)."""
        begun, limit_s = self._clock(), self._settings.connect_s_max
        wait_s = TELL_AFTER_S if limit_s is None else min(TELL_AFTER_S, limit_s)
        if await self._online_within(wait_s):
            return None
        if wait_s == TELL_AFTER_S:  # a dial that began at once may take as long
            with suppress(TimeoutError):
                async with asyncio.timeout(FIRST_FAILURE_S):
                    await self._failed.wait()
        found = await wrong_server(self._settings.join, self._error)
        if self._online.is_set():
            return None
        if limit_s is None or self._clock() - begun < limit_s:
            how_long = "for ever" if limit_s is None else f"for {limit_s:g} s in all"
            self._on_event(Notice(f"not online after {wait_s:g} s: {found or advice(self._error)}. Trying again, {how_long}"))
            if await self._online_within(None if limit_s is None else begun + limit_s - self._clock()):
                return None
        return UnavailableError(f"not online within {limit_s:g} s: {found or advice(self._error)}")

    async def _online_within(self, seconds: float | None) -> bool:
        """Wait, without an end where nobody has set one; return whether the agent is online."""
        try:
            async with asyncio.timeout(seconds):
                await self._online.wait()
        except TimeoutError:
            return False
        return True
