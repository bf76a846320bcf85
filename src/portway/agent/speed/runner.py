"""Runs a speed test: log in, ping, measure one stream and many in both directions, then emit the verdicts."""

import asyncio
import secrets
import statistics
from dataclasses import dataclass

from portway.agent.app import tls_of
from portway.agent.context import SessionContext
from portway.agent.events import AgentEvent, Online
from portway.agent.identity import find_identity
from portway.agent.session import AgentSession
from portway.agent.settings import AgentSettings
from portway.agent.speed.client import SpeedTestClient
from portway.agent.speed.events import Direction, EventSink, Measurement, RoundTrips, SpeedTestStarted
from portway.agent.speed.measure import Measurer
from portway.agent.speed.pings import round_trip_s, round_trips_s
from portway.agent.speed.streams import SpeedStreams
from portway.agent.speed.verdict import LinksAllowed, judge, judge_delay
from portway.engine.reactor import Reactor
from portway.errors import PeerError, UnavailableError
from portway.session.claims import Claims

WARM_UP_S = 0.8
"""A test that does not count: links that stay busy for 0.3 s cause a further one (agent/link_policy.py)."""

IDLE_S = 0.3
IDLE_S_MAX = 3.0
"""Pause between two tests, and its maximum while pings are slower than on an idle link: buffers must be empty before the next test."""

FINAL_MESSAGE_S = 1.0
"""How long a session without links may take to end with its reason: the test may notice the loss earlier, when it sends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeedTestOptions:
    """Options of a speed test."""

    seconds: float = 5.0
    """Duration of each measurement."""
    streams: int = 8
    """Number of streams in the multi-stream measurements."""


async def run(settings: AgentSettings, options: SpeedTestOptions, *, on_event: EventSink) -> None:
    """Test the connection to the server, and emit the results to `on_event`.

    Raises:
        RefusedError: the server refuses this agent or the test, or does not support tests.
        UnavailableError: the server cannot be reached, or the session was lost during the test.
        PeerError: the peer violates the protocol.
        ConfigError: the settings cannot work.
    """
    reactor = Reactor(asyncio.get_running_loop())
    try:
        test = _SpeedTest(reactor, settings, options, on_event)
        async with asyncio.TaskGroup() as tasks:
            session = tasks.create_task(test.run_session(), name="session")
            try:
                await test.measure_all()
            except UnavailableError:
                if test.links_lost:
                    await asyncio.wait([session], timeout=FINAL_MESSAGE_S)
                raise
            session.cancel()
    finally:
        reactor.close()


class _SpeedTest:
    """One test, from its login to its last verdict."""

    def __init__(self, reactor: Reactor, settings: AgentSettings, options: SpeedTestOptions, on_event: EventSink) -> None:
        self._reactor = reactor
        self._settings = settings
        self._options = options
        self._on_event = on_event
        self._online: asyncio.Future[Online] = asyncio.get_running_loop().create_future()
        client, streams = SpeedTestClient(), SpeedStreams(reactor)
        context = SessionContext(
            reactor=reactor,
            settings=settings,
            tls=tls_of(settings),
            identity=find_identity(settings.data_dir, settings.join, secrets.token_bytes),
            claims=Claims([]),
            origins=streams,
            on_event=self._on_agent_event,
            random_bytes=secrets.token_bytes,
            on_reply=client.on_reply,
        )
        self._session = AgentSession(context)
        self._measurer = Measurer(reactor, self._session, client, streams, on_event)
        self._idle_rtt_s = 0.0

    @property
    def links_lost(self) -> bool:
        """True once the session has no link left."""
        return self._session.welcome is not None and not self._session.links

    async def run_session(self) -> None:
        """Run the session; its end before that of the test is an error."""
        try:
            await self._session.run()
        except (UnavailableError, PeerError) as error:
            if self._online.done():
                raise UnavailableError(f"the speed test was interrupted: {error}") from error
            raise

    async def measure_all(self) -> None:
        """Run all measurements in order, and emit the results."""
        options, allowed = self._options, await self._begin()
        times = await round_trips_s(self._session.links[0].mux, self._reactor.refresh_now)
        self._idle_rtt_s = round(statistics.median(times), 6)
        self._on_event(RoundTrips(len(times), round(min(times), 6), self._idle_rtt_s))

        one = {direction: await self._measure(direction, 1) for direction in ("down", "up")}
        await self._warm_up(allowed)
        many = {direction: await self._measure(direction, options.streams) for direction in ("down", "up")}

        for direction, measured in many.items():
            self._on_event(judge(one[direction], measured, allowed))
        delay = judge_delay(self._idle_rtt_s, list(many.values()))
        if delay is not None:
            self._on_event(delay)

    async def _begin(self) -> LinksAllowed:
        """Wait for the login, which has its own deadlines, and emit the start of the test."""
        online = await self._online
        welcome, settings, options = self._session.welcome, self._settings, self._options
        allowed = LinksAllowed(by_server=welcome.limits.links if welcome is not None else 1, by_command=settings.links_max)
        join = settings.join
        address = f"[{join.host}]:{join.port}" if ":" in join.host else f"{join.host}:{join.port}"
        links_max = min(allowed.by_server, allowed.by_command)
        self._on_event(SpeedTestStarted(address, online.server, not join.plaintext, options.seconds, options.streams, links_max))
        return allowed

    async def _measure(self, direction: Direction, streams: int) -> Measurement:
        await self._wait_until_idle()
        measured = await self._measurer.measure(direction, streams, self._options.seconds)
        self._on_event(measured)
        return measured

    async def _warm_up(self, allowed: LinksAllowed) -> None:
        """Run tests that do not count until the session has as many links as it would open for so many visitors."""
        links = self._session.links
        for _ in range(min(allowed.by_server, allowed.by_command) - 1):
            before = len(links)
            await self._wait_until_idle()
            await self._measurer.measure("down", self._options.streams, WARM_UP_S, silent=True)
            await asyncio.sleep(min(1.0, IDLE_S + 6 * self._idle_rtt_s))  # the dial and login of one more
            if len(links) == before:
                return

    async def _wait_until_idle(self) -> None:
        """Wait until the network path has no bytes of earlier tests buffered."""
        until = self._reactor.refresh_now() + IDLE_S_MAX
        await asyncio.sleep(IDLE_S)
        for link in list(self._session.links):
            while await round_trip_s(link.mux) > 1.5 * self._idle_rtt_s + 0.01:
                if self._reactor.refresh_now() > until:
                    return

    def _on_agent_event(self, event: AgentEvent) -> None:
        if isinstance(event, Online) and not self._online.done():
            self._online.set_result(event)
