"""One measurement: streams in one direction for a few seconds, both ends' figures, and concurrent pings."""

import asyncio
import secrets

from portway.agent.link import AgentLink
from portway.agent.session import AgentSession
from portway.agent.speed.client import SpeedTestClient, deadline_s, no_result_error
from portway.agent.speed.events import Direction, EventSink, Measurement, Progress
from portway.agent.speed.pings import median
from portway.agent.speed.streams import SpeedStreams
from portway.engine.reactor import Reactor
from portway.protocol.control.messages import Measured
from portway.session.speed import SETTLE_SHARE, Payload, Sample, SpeedRun
from portway.telemetry.cpu import CpuTime

PROGRESS_EVERY_S = 0.25
"""Interval of progress events."""

PINGS_MAX = 20
"""Pings on each link under load. The mux sizes its windows by the lowest of the last 64, which must include idle ones."""

LINK_SHARE = 0.02
"""A link that carried a smaller share of a test carried pings, not streams."""


class Measurer:
    """Measures on one session, one measurement at a time."""

    def __init__(
        self,
        reactor: Reactor,
        session: AgentSession,
        client: SpeedTestClient,
        streams: SpeedStreams,
        on_event: EventSink,
    ) -> None:
        """Prepare; `measure` begins."""
        self._reactor = reactor
        self._session = session
        self._client = client
        self._streams = streams
        self._on_event = on_event
        self._payload = Payload(secrets.token_bytes)

    async def measure(self, direction: Direction, streams: int, seconds: float, *, silent: bool = False) -> Measurement:
        """Return one measurement; `silent`: without progress events.

        Raises:
            RefusedError, UnavailableError: the server refuses the test, or does not reply.
        """
        payload = self._payload.view if direction == "up" else None
        run = SpeedRun(self._reactor, streams=streams, seconds=seconds, payload=payload)
        before = {link: _carried(link) for link in self._session.links}
        self._streams.run = run
        try:
            reply = self._client.request(self._session, direction, streams, seconds)
            round_trips = await self._watch(reply, run, seconds, None if silent else (direction, streams))
            measured = reply.result()
        finally:
            self._streams.run = None
            sample = run.sample()
            run.abort()
        carried = [_carried(link) - before.get(link, 0) for link in self._session.links]
        links = sum(each > LINK_SHARE * sum(carried) for each in carried)
        server = Sample(measured.bytes, measured.seconds, CpuTime(measured.cpu_s, measured.wait_s))
        return _measurement(direction, streams, links, round_trips, sample, server)

    async def _watch(
        self, reply: asyncio.Future[Measured], run: SpeedRun, seconds: float, shown: tuple[Direction, int] | None
    ) -> list[float]:
        """Ping every link periodically until the reply arrives; return the round trips of the steady interval."""
        began_at = self._reactor.refresh_now()
        shown_at, shown_bytes, ping_at = began_at, 0, began_at + SETTLE_SHARE * seconds
        found: list[float] = []
        while not await self._client.wait_reply(reply, PROGRESS_EVERY_S):
            now, moved = self._reactor.refresh_now(), run.moved
            passed_s = now - began_at
            if passed_s > deadline_s(seconds):
                raise no_result_error()
            if ping_at <= now <= began_at + seconds:
                ping_at = now + (1 - SETTLE_SHARE) * seconds / PINGS_MAX
                for link in self._session.links:
                    link.mux.ping(found.append)
            if shown is not None:
                rate = (moved - shown_bytes) / (now - shown_at)
                self._on_event(Progress(*shown, min(1.0, passed_s / seconds), rate))
            shown_at, shown_bytes = now, moved
        return found


def _carried(link: AgentLink) -> int:
    return link.mux.bytes_in + link.mux.bytes_out


def _measurement(direction: Direction, streams: int, links: int, round_trips: list[float], here: Sample, server: Sample) -> Measurement:
    """Combine the samples of both ends; the receiver's bytes count."""
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


def _share(amount: float, sample: Sample) -> float:
    return amount / sample.seconds if sample.seconds > 0 else 0.0
