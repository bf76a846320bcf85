"""Source of certificates: the operator's own files (`--certificates DIR`), reloaded when they change."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from portway.certificates.contexts import VisitorContext
from portway.certificates.events import CertificateDown, CertificateEvent, CertificateFailed, CertificateUp, EventSink
from portway.certificates.files import CertificateDirectory, Loaded, Stamp
from portway.certificates.served import NameTable, ServedCertificate, join_types
from portway.clock import Clock
from portway.errors import ConfigError
from portway.telemetry.logs import get_log

log = get_log(__name__)

SOURCE = "files"

POLL_EVERY_S = 2.0
"""How often the directory is checked. A change is loaded at the second check that finds it, when files are no longer being written."""

RENEWALS_A_POLL = 20
"""Contexts replaced per check, 1.5 ms each: more would delay the reactor, which shares the interpreter."""


@dataclass(frozen=True, slots=True)
class State:
    """What is served from the directory, and what is wrong with it; replaced as a whole."""

    served: dict[str, ServedCertificate] = field(default_factory=dict)
    """By file."""
    faults: dict[str, str] = field(default_factory=dict)
    table: NameTable = field(default_factory=NameTable)


class FileSource:
    """Certificates from a directory. A file that cannot be used is reported; what was loaded from it before stays."""

    def __init__(self, directory: Path, on_event: EventSink, clock: Clock) -> None:
        """Read nothing before `open`. `clock` is `clock.wall`."""
        self._directory = CertificateDirectory(directory)
        self._on_event = on_event
        self._clock = clock
        self._state = State()
        self._loaded: dict[Path, Stamp] = {}
        self._seen: dict[Path, Stamp] = {}
        """The files as of the last check, which may still be changing."""
        self._reload = asyncio.Event()

    def context_for(self, name: str) -> VisitorContext | None:
        """Return the context of the best certificate for `name`."""
        return self._state.table.context_for(name, self._clock())

    def has_trusted(self, name: str) -> bool:
        """Return whether a certificate for `name` is valid now: the operator chose it for the visitors."""
        return self._state.table.has_valid(name, self._clock())

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Load the certificates, and reload them within the block when they change.

        Raises:
            ConfigError: the directory cannot be read.
        """
        self._emit(await asyncio.to_thread(self.load))
        async with asyncio.TaskGroup() as tasks:
            watching = tasks.create_task(self._watch(), name="certificate files")
            try:
                yield
            finally:
                watching.cancel()

    def reload(self) -> None:
        """Read all files again soon, also those that seem unchanged."""
        self._reload.set()

    def load(self) -> list[CertificateEvent]:
        """Read the directory for the first time and return what to report. Blocks.

        Raises:
            ConfigError: the directory cannot be read.
        """
        try:
            return self._load(self._directory.stamps(), again=True)
        except ConfigError as exc:
            raise ConfigError(f"certificates: {exc}") from exc

    async def _watch(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(POLL_EVERY_S):
                    await self._reload.wait()
            again = self._reload.is_set()
            self._reload.clear()
            try:
                self._emit(await asyncio.to_thread(self._check, again=again))
            except Exception as exc:  # noqa: BLE001 - a bug here must not end a server whose certificates are loaded
                log.error("certificate files not checked", exc=exc)  # noqa: TRY400 - our log takes the traceback

    def _emit(self, events: list[CertificateEvent]) -> None:
        for event in events:
            self._on_event(event)

    def _check(self, *, again: bool) -> list[CertificateEvent]:
        """Load the files if they have changed and no longer change; renew contexts. Runs in a thread."""
        now = self._clock()
        for one in [one for one in self._state.served.values() if one.is_worn(now)][:RENEWALS_A_POLL]:
            one.renew_context(now)
        try:
            stamps = self._directory.stamps()
        except ConfigError as exc:
            return self._replace(self._state.served, {"": str(exc)})
        seen, self._seen = self._seen, stamps
        if again or (stamps == seen and stamps != self._loaded) or "" in self._state.faults:
            return self._load(stamps, again=again)
        return []

    def _load(self, stamps: dict[Path, Stamp], *, again: bool) -> list[CertificateEvent]:
        loaded = self._directory.load(stamps, again=again)
        self._loaded = self._seen = stamps
        return self._replace(*self._merge(loaded))

    def _merge(self, loaded: Loaded) -> tuple[dict[str, ServedCertificate], dict[str, str]]:
        """Return what to serve from now on, and the faults: nothing is dropped while there are faults, or if nothing would be left."""
        before, served, faults = self._state.served, {}, dict(loaded.faults)
        for label, certificate in loaded.certificates.items():
            earlier = before.get(label)
            if earlier is not None and earlier.certificate.pem == certificate.pem:
                served[label] = earlier
                continue
            try:
                served[label] = ServedCertificate(certificate, self._clock())
            except ConfigError as exc:
                faults[label] = str(exc)
        if not served and not faults:
            faults[""] = "no certificate with its key found"
        return ({**before, **served} if faults else served), faults

    def _replace(self, served: dict[str, ServedCertificate], faults: dict[str, str]) -> list[CertificateEvent]:
        join_types(served.values())
        before, self._state = self._state, State(served, faults, NameTable(served.values()))
        events: list[CertificateEvent] = [
            CertificateDown(SOURCE, self._id(label))
            for label in {**before.served, **before.faults}
            if label not in served and label not in faults
        ]
        for label, one in served.items():
            if label not in faults and (before.served.get(label) is not one or label in before.faults):
                certificate = one.certificate
                events.append(CertificateUp(SOURCE, self._id(label), certificate.names, certificate.issuer, certificate.not_after))
        for label, reason in faults.items():
            if before.faults.get(label) != reason:
                events.append(CertificateFailed(SOURCE, self._id(label), reason, stays=label in served or (not label and bool(served))))
        return events

    def _id(self, label: str) -> str:
        return str(self._directory.path / label)
