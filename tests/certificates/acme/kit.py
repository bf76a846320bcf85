"""A manager in a loop of its own, with a data directory that can be reopened."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from portway.certificates.acme.client import AcmeClient, ExternalAccount
from portway.certificates.acme.dns_records import DnsRecords
from portway.certificates.acme.files import AcmeFiles
from portway.certificates.acme.manager import AcmeManager, LocalPublisher
from portway.certificates.acme.source import AcmeSource
from portway.certificates.events import CertificateFailed, CertificateUp
from portway.clock import wall
from portway.server.events import ServerEvent
from tests.kit.pebble import Pebble

EMAIL = "me@example.org"


@dataclass
class Ca:
    """What a client has to be told of a CA."""

    directory: str
    ca_file: Path


@dataclass
class Running:
    """A manager that runs, and what it reported."""

    manager: AcmeManager
    source: AcmeSource
    files: AcmeFiles
    events: list[ServerEvent] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    in_flight_most: int = 0

    def on_event(self, event: ServerEvent) -> None:
        self.events.append(event)
        self.in_flight_most = max(self.in_flight_most, self.manager.in_flight)
        self.changed.set()

    async def until(self, condition: Callable[[], bool], deadline_s: float = 30.0) -> None:
        """Wait until a condition holds after an event."""
        async with asyncio.timeout(deadline_s):
            while not condition():
                self.changed.clear()
                await self.changed.wait()

    def issued(self) -> list[str]:
        return [event.id for event in self.events if isinstance(event, CertificateUp)]

    def failed(self) -> list[CertificateFailed]:
        return [event for event in self.events if isinstance(event, CertificateFailed)]


def ignore(_event: ServerEvent) -> None:
    pass


def empty_source() -> AcmeSource:
    """Return a source without certificates, before the one of a manager."""
    return AcmeSource(AcmeFiles(Path("/nonexistent")), ignore, wall)


@asynccontextmanager
async def running(
    ca: Ca | Pebble,
    data: Path,
    *,
    domain: str = "tunnel.example.org",
    records: DnsRecords | None = None,
    external: ExternalAccount | None = None,
    clock: Callable[[], float] = wall,
    **options: Any,
) -> AsyncIterator[Running]:
    """Run a manager on a data directory."""
    files = AcmeFiles.for_ca(data, ca.directory)
    source = AcmeSource(files, ignore, clock)

    def make_client() -> AcmeClient:
        return AcmeClient(files, ca.directory, email=EMAIL, ca_file=ca.ca_file, external=external)

    def on_event(event: ServerEvent) -> None:
        run.on_event(event)

    manager = AcmeManager(
        files,
        make_client,
        source,
        LocalPublisher(source),
        domain=domain,
        records=records,
        on_event=on_event,
        clock=clock,
        chance=random.Random(7).random,
        **options,
    )
    run = Running(manager, source, files)
    async with source.open(), manager.open():
        yield run
