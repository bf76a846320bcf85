"""One measurement: streams one way for a few seconds, both ends' figures, and pings in between."""

import asyncio
import secrets
from collections.abc import Callable

from portway.agent.link import AgentLink
from portway.agent.session import AgentSession
from portway.agent.speed.client import SpeedTestClient, deadline_s, unanswered
from portway.agent.speed.events import Direction, Measurement, Progress, SpeedEvent
from portway.agent.speed.pings import median
from portway.agent.speed.streams import SpeedStreams
from portway.engine.reactor import Reactor
from portway.protocol.control.messages import Measured
from portway.session.speed import SETTLE_SHARE, Payload, Sample, SpeedRun
from portway.telemetry.cpu import CpuTime

LOOK_EVERY_S = 0.25
"""How often progress is told."""

PINGS_MAX = 20
"""Pings of each link under load. The mux judges its windows by the lowest of the last 64: those at rest must stay among them."""

LINK_SHARE = 0.02
"""A link that carried less of a test than this carried pings, not streams."""


class Measurer:
    """Measures on one session, one thing at a time."""

    def __init__(
        self,
        reactor: Reactor,
        session: AgentSession,
        asking: SpeedTestClient,
        streams: SpeedStreams,
        on_event: Callable[[SpeedEvent], None],
    ) -> None:
        """Measure nothing yet."""
        self._reactor = reactor
        self._session = session
        self._asking = asking
        self._streams = streams
        self._on_event = on_event
        self._payload = Payload(secrets.token_bytes)

    async def measure(self, direction: Direction, streams: int, seconds: float, *, quietly: bool = False) -> Measurement:
        """Return one measurement; `quietly`: without telling its progress.

        Raises:
            RefusedError, UnavailableError: the server wants no test, or gives no answer.
        """
        payload = self._payload.view if direction == "up" else None
        run = SpeedRun(self._reactor, streams=streams, seconds=seconds, payload=payload)
        before = {link: _carried(link) for link in self._session.links}
        self._streams.run = run
        try:
            reply = self._asking.ask(self._session, direction, streams, seconds)
            round_trips = await self._watch(reply, run, seconds, None if quietly else (direction, streams))
            measured = reply.result()
        finally:
            self._streams.run = None
            seen = run.stretch()
            run.abort()
        carried = [_carried(link) - before.get(link, 0) for link in self._session.links]
        links = sum(each > LINK_SHARE * sum(carried) for each in carried)
        server = Sample(measured.bytes, measured.seconds, CpuTime(measured.cpu_s, measured.wait_s))
        return _measurement(direction, streams, links, round_trips, seen, server)

    async def _watch(
        self, reply: asyncio.Future[Measured], run: SpeedRun, seconds: float, told: tuple[Direction, int] | None
    ) -> list[float]:
        """Ping every link now and then until the answer is there; return the round trips of the steady stretch."""
        begun_at = self._reactor.refresh_now()
        looked_at, looked_bytes, ping_at = begun_at, 0, begun_at + SETTLE_SHARE * seconds
        found: list[float] = []
        while not await self._asking.until_answered(reply, LOOK_EVERY_S):
            now, moved = self._reactor.refresh_now(), run.moved
            passed_s = now - begun_at
            if passed_s > deadline_s(seconds):
                raise unanswered()
            if ping_at <= now <= begun_at + seconds:
                ping_at = now + (1 - SETTLE_SHARE) * seconds / PINGS_MAX
                for link in self._session.links:
                    link.mux.ping(found.append)
            if told is not None:
                rate = (moved - looked_bytes) / (now - looked_at)
                self._on_event(Progress(*told, min(1.0, passed_s / seconds), rate))
            looked_at, looked_bytes = now, moved
        return found


def _carried(link: AgentLink) -> int:
    return link.mux.bytes_in + link.mux.bytes_out


def _measurement(direction: Direction, streams: int, links: int, round_trips: list[float], here: Sample, server: Sample) -> Measurement:
    """Join what both ends saw; what arrived is what counts."""
    arrived = here if direction == "down" else server
    rtt_s = median(round_trips)
    return Measurement(
        direction=direction,
        streams=streams,
        links=links,
        bytes_per_s=round(_share(arrived.bytes, arrived)),
        rtt_s=None if rtt_s is None else round(rtt_s, 6),
        here_cpu=round(_share(here.cpu.used_s, here), 3),
        here_waited=round(_share(here.cpu.waited_s, here), 3),
        server_cpu=round(_share(server.cpu.used_s, server), 3),
        server_waited=round(_share(server.cpu.waited_s, server), 3),
    )


def _share(amount: float, stretch: Sample) -> float:
    return amount / stretch.seconds if stretch.seconds > 0 else 0.0
