"""The course of a speed test: log in, ping, one stream and many, down and up, then the verdicts."""

import asyncio
import secrets
import statistics
from collections.abc import Callable
from dataclasses import dataclass

from portway.agent.app import tls_of
from portway.agent.context import SessionContext
from portway.agent.events import AgentEvent, Online
from portway.agent.identity import find_identity
from portway.agent.session import AgentSession
from portway.agent.settings import AgentSettings
from portway.agent.speed.client import SpeedTestClient
from portway.agent.speed.events import Direction, Measurement, RoundTrips, SpeedEvent, SpeedTestStarted
from portway.agent.speed.measure import Measurer
from portway.agent.speed.pings import round_trip_s, round_trips_s
from portway.agent.speed.streams import SpeedStreams
from portway.agent.speed.verdict import LinksAllowed, judge, judge_delay
from portway.engine.reactor import Reactor
from portway.errors import PeerError, UnavailableError
from portway.session.claims import Claims

WARM_S = 0.8
"""A test that does not count: a link that stays busy for 0.3 s gets company (agent/link_policy.py)."""

REST_S = 0.3
REST_S_MAX = 3.0
"""Between two tests, and until a ping is nearly as quick as at rest: what one has left in buffers must not meet the next."""

FINAL_MESSAGE_S = 1.0
"""How long a session whose links are gone may take to say why: the test notices as soon as it asks for something."""

Tell = Callable[[SpeedEvent], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeedTestOptions:
    """What was asked for."""

    seconds: float = 5.0
    """Of each measurement."""
    streams: int = 8
    """Of those with many."""


async def run(settings: AgentSettings, wishes: SpeedTestOptions, *, on_event: Tell) -> None:
    """Test the way to the server, and tell all that is found to `on_event`.

    Raises:
        RefusedError: the server does not let this agent in, or allows no test, or knows none.
        UnavailableError: the server cannot be reached, or the session was lost in the middle.
        PeerError: what answers there breaks the protocol.
        ConfigError: the settings cannot work.
    """
    reactor = Reactor(asyncio.get_running_loop())
    try:
        course = _SpeedTest(reactor, settings, wishes, on_event)
        async with asyncio.TaskGroup() as tasks:
            session = tasks.create_task(course.hold_session(), name="session")
            try:
                await course.follow()
            except UnavailableError:
                if course.cut_off:
                    await asyncio.wait([session], timeout=FINAL_MESSAGE_S)
                raise
            session.cancel()
    finally:
        reactor.close()


class _SpeedTest:
    """One test, from its login to its last verdict."""

    def __init__(self, reactor: Reactor, settings: AgentSettings, wishes: SpeedTestOptions, on_event: Tell) -> None:
        self._reactor = reactor
        self._settings = settings
        self._wishes = wishes
        self._on_event = on_event
        self._online: asyncio.Future[Online] = asyncio.get_running_loop().create_future()
        asking, streams = SpeedTestClient(), SpeedStreams(reactor)
        needs = SessionContext(
            reactor=reactor,
            settings=settings,
            tls=tls_of(settings),
            identity=find_identity(settings.data_dir, settings.join, secrets.token_bytes),
            claims=Claims([]),
            origins=streams,
            on_event=self._hear,
            random_bytes=secrets.token_bytes,
            on_answer=asking.hear,
        )
        self._session = AgentSession(needs)
        self._measuring = Measurer(reactor, self._session, asking, streams, on_event)
        self._rest_s = 0.0

    @property
    def cut_off(self) -> bool:
        """True once the session has no link left."""
        return self._session.welcome is not None and not self._session.links

    async def hold_session(self) -> None:
        """Hold the session; its end before that of the test is an error."""
        try:
            await self._session.run()
        except (UnavailableError, PeerError) as gone:
            if self._online.done():
                raise UnavailableError(f"the speed test broke off: {gone}") from gone
            raise

    async def follow(self) -> None:
        """Measure one thing after the other."""
        wishes, allowed = self._wishes, await self._begin()
        times = await round_trips_s(self._session.links[0].mux, self._reactor.refresh_now)
        self._rest_s = round(statistics.median(times), 6)
        self._on_event(RoundTrips(len(times), round(min(times), 6), self._rest_s))

        one = {direction: await self._measure(direction, 1) for direction in ("down", "up")}
        await self._warm_up(allowed)
        many = {direction: await self._measure(direction, wishes.streams) for direction in ("down", "up")}

        for direction, measured in many.items():
            self._on_event(judge(one[direction], measured, allowed))
        delay = judge_delay(self._rest_s, list(many.values()))
        if delay is not None:
            self._on_event(delay)

    async def _begin(self) -> LinksAllowed:
        """Wait for the login, which has its own deadlines, and tell what will be tested."""
        online = await self._online
        welcome, settings, wishes = self._session.welcome, self._settings, self._wishes
        allowed = LinksAllowed(by_server=welcome.limits.links if welcome is not None else 1, by_command=settings.links_max)
        join = settings.join
        address = f"[{join.host}]:{join.port}" if ":" in join.host else f"{join.host}:{join.port}"
        links_max = min(allowed.by_server, allowed.by_command)
        self._on_event(SpeedTestStarted(address, online.server, not join.plaintext, wishes.seconds, wishes.streams, links_max))
        return allowed

    async def _measure(self, direction: Direction, streams: int) -> Measurement:
        await self._wait_until_idle()
        measured = await self._measuring.measure(direction, streams, self._wishes.seconds)
        self._on_event(measured)
        return measured

    async def _warm_up(self, allowed: LinksAllowed) -> None:
        """Let the session have the links that so many streams would give it, as it would under visitors."""
        links = self._session.links
        for _ in range(min(allowed.by_server, allowed.by_command) - 1):
            before = len(links)
            await self._wait_until_idle()
            await self._measuring.measure("down", self._wishes.streams, WARM_S, quietly=True)
            await asyncio.sleep(min(1.0, REST_S + 6 * self._rest_s))  # the dial and login of one more
            if len(links) == before:
                return

    async def _wait_until_idle(self) -> None:
        """Wait until the line has nothing of ours in it."""
        until = self._reactor.refresh_now() + REST_S_MAX
        await asyncio.sleep(REST_S)
        for link in list(self._session.links):
            while await round_trip_s(link.mux) > 1.5 * self._rest_s + 0.01:
                if self._reactor.refresh_now() > until:
                    return

    def _hear(self, event: AgentEvent) -> None:
        if isinstance(event, Online) and not self._online.done():
            self._online.set_result(event)
