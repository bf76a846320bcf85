"""Orders and renews certificates for the names of live tunnels, and reports what happens."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any, Protocol

from portway.certificates.acme.client import DNS_01, HTTP_01, TLS_ALPN_01, AcmeClient, certificate_id
from portway.certificates.acme.dns_records import DnsRecords
from portway.certificates.acme.failures import OrderFailed
from portway.certificates.acme.files import AcmeFiles, Failure
from portway.certificates.acme.order import ChallengePublisher, Orderer, OrderPlan
from portway.certificates.acme.schedule import Schedule, Validity
from portway.certificates.acme.source import SOURCE, AcmeSource, up_event
from portway.certificates.certificate import Certificate
from portway.certificates.events import CertificateDown, CertificateFailed, CertificateOrdered, EventSink
from portway.clock import Clock, wall
from portway.telemetry.logs import get_log

WAKE_S_MAX = 60.0
"""The schedule is looked at this often at least: clocks are set, machines sleep."""

COVERED_S = 3600.0
"""Interval at which names are compared with the certificates of other sources, which may have come or gone."""

log = get_log(__name__)


class CertificatePublisher(ChallengePublisher, Protocol):
    """Makes all processes serve new certificates, and answer challenges."""

    def install(self, issued: Certificate) -> None:
        """Serve a certificate from now on."""

    def set_ordered(self, name: str, ordered: bool) -> None:
        """Let visitors wait for the first certificate of a name, or no longer."""


class LocalPublisher:
    """The publisher of a server with one process."""

    def __init__(self, source: AcmeSource) -> None:
        """Publish in `source`."""
        self._source = source

    def install(self, issued: Certificate) -> None:
        """Do nothing: the manager's own source has it."""

    def set_ordered(self, name: str, ordered: bool) -> None:
        """Do nothing: the manager's own source has it."""

    async def answer_http(self, name: str, token: str, body: str) -> None:
        """Answer HTTP-01."""
        self._source.set_http_challenge(name, token, body)

    async def answer_alpn(self, name: str, pem: bytes) -> None:
        """Answer TLS-ALPN-01."""
        self._source.set_alpn_challenge(name, pem)

    def clear(self, name: str) -> None:
        """Answer no more challenges for a name."""
        self._source.clear_challenges(name)


class AcmeManager:
    """Orders certificates in one process, for all processes of the server."""

    def __init__(  # noqa: PLR0913 - the collaborators of an order, wired in one place
        self,
        files: AcmeFiles,
        make_client: Callable[[], AcmeClient],
        source: AcmeSource,
        publisher: CertificatePublisher,
        *,
        domain: str,
        records: DnsRecords | None = None,
        kinds: Sequence[str] = (TLS_ALPN_01, HTTP_01),
        any_name: bool = False,
        is_covered: Callable[[str], bool] = lambda _: False,
        on_event: EventSink,
        clock: Clock = wall,
        chance: Callable[[], float] = random.random,
        orderer: type[Orderer] = Orderer,
    ) -> None:
        """Order nothing before `open`.

        With `records`, one wildcard serves all names below `domain`. `kinds` are the challenges that this server can answer for other
        names. `any_name`: also for names that no token lists. `is_covered`: whether a source that comes first has a certificate.
        """
        self._files = files
        self._source = source
        self._publisher = publisher
        self._domain = domain
        self._wildcard = f"*.{domain}" if records is not None else ""
        self._kinds = tuple(kinds)
        self._any_name = any_name
        self._is_covered = is_covered
        self._on_event = on_event
        self._clock = clock
        self._schedule = Schedule(chance)
        self._orderer = orderer(files, make_client, publisher, records, clock)
        self._live: set[str] = set()
        """Names of live tunnels that may have a certificate."""
        self._failing: set[str] = set()
        """Those without a certificate whose last order failed."""
        self._changed = asyncio.Event()
        self._checking = False
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def in_flight(self) -> int:
        """Return the number of orders under way."""
        return self._schedule.in_flight

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Order and renew within this block; the source has loaded the saved certificates."""
        failures = await self._orderer.run(lambda _: self._files.failures())
        self._restore(failures)
        async with asyncio.TaskGroup() as tasks:
            self._tasks = {tasks.create_task(self._run(tasks), name="orders of certificates")}
            try:
                yield
            finally:
                for task in tuple(self._tasks):
                    task.cancel()
                self._orderer.close()

    def certificate_wanted(self, name: str, *, reserved: bool) -> None:
        """Order a certificate for the name of a live tunnel, if it may have one. `reserved`: the tunnel's token lists exactly this name."""
        if not (reserved or self._any_name) or not is_public(name) or self._has_wildcard_for(name):
            return
        self._live.add(name)
        self._want(name)
        if self._source.find(name) is None and not (self._is_covered(name) or self._schedule.failures(name)):
            self._set_ordered(name, ordered=True)

    def certificate_released(self, name: str) -> None:
        """Renew nothing for a name whose tunnel is gone; its certificate is served when it returns."""
        if name not in self._live:
            return
        self._live.discard(name)
        self._schedule.release(name, self._clock())
        self._set_ordered(name, ordered=False)
        if name in self._failing:
            self._failing.discard(name)
            self._on_event(CertificateDown(SOURCE, name))

    def wake(self) -> None:
        """Look at the schedule at once, after the clock was set."""
        self._changed.set()

    def _restore(self, failures: Sequence[Failure]) -> None:
        now = self._clock()
        for one in failures:
            self._schedule.restore(one.name, one.failures, one.not_before, one.error, now)
        if self._wildcard:
            self._live.add(self._wildcard)
            self._want(self._wildcard)
            if self._source.find(self._wildcard) is None and not self._schedule.failures(self._wildcard):
                self._set_ordered(self._wildcard, ordered=True)

    def _want(self, name: str) -> None:
        if self._is_covered(name):
            self._schedule.release(name, self._clock())
            return
        issued = self._source.find(name)
        validity = Validity(issued.not_before, issued.not_after) if issued is not None and name in issued.names else None
        if not self._schedule.want(name, validity, self._clock()):
            log.warning("no certificate ordered: too many names", name=name)
        self._changed.set()

    def _has_wildcard_for(self, name: str) -> bool:
        return bool(self._wildcard) and name.partition(".")[2] == self._domain

    async def _run(self, tasks: asyncio.TaskGroup) -> None:
        compared_at = self._clock()
        while True:
            self._changed.clear()
            now = self._clock()
            if not 0 <= now - compared_at < COVERED_S:
                compared_at = now
                for name in list(self._live):
                    self._want(name)
            for name in self._schedule.take(now):
                self._start(tasks, self._order(name), "order of a certificate")
            if not self._checking and (names := self._schedule.checks(now)):
                self._checking = True
                self._start(tasks, self._check(names), "suggested times of renewal")
            at = self._schedule.next_at()
            delay = WAKE_S_MAX if at is None else min(max(at - now, 0.0), WAKE_S_MAX)
            try:
                async with asyncio.timeout(delay):
                    await self._changed.wait()
            except TimeoutError:
                pass

    def _start(self, tasks: asyncio.TaskGroup, work: Coroutine[Any, Any, None], name: str) -> None:
        task = tasks.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _order(self, name: str) -> None:
        previous = self._source.find(name)
        if previous is not None and name not in previous.names:
            previous = None  # a wildcard's
        self._on_event(CertificateOrdered(SOURCE, name, renewal=previous is not None))
        try:
            issued = await self._orderer.obtain(self._plan(name, previous))
        except OrderFailed as failed:
            at = self._schedule.failed(name, failed, self._clock())
            names = (name,) if previous is None else previous.names
            if previous is None and name in self._live:
                self._failing.add(name)
            self._on_event(CertificateFailed(SOURCE, name, str(failed), stays=previous is not None, names=names, next_attempt=at))
        else:
            self._failing.discard(name)
            self._source.install(issued)
            self._publisher.install(issued)
            self._schedule.succeeded(name, Validity(issued.not_before, issued.not_after), self._clock())
            self._on_event(up_event(issued, self._schedule.next_of(name)))
        finally:
            self._set_ordered(name, ordered=False)
            self._changed.set()
        await self._save_failures()

    def _set_ordered(self, name: str, *, ordered: bool) -> None:
        self._source.set_ordered(name, ordered)
        self._publisher.set_ordered(name, ordered)

    def _plan(self, name: str, previous: Certificate | None) -> OrderPlan:
        replaces = None if previous is None else certificate_id(previous.pem)
        if name == self._wildcard:
            return OrderPlan(name, (name, self._domain), (DNS_01,), replaces)
        turn = self._schedule.failures(name) % len(self._kinds)  # a kind that failed is tried last
        return OrderPlan(name, (name,), self._kinds[turn:] + self._kinds[:turn], replaces)

    async def _save_failures(self) -> None:
        failures = [
            Failure(row.name, row.failures, row.next_at, row.error) for row in self._schedule.rows() if row.failures and row.next_at
        ]
        try:
            await self._orderer.run(lambda _: self._files.save_failures(failures))
        except OrderFailed as failed:
            log.warning("failures not saved; a restarted server tries again at once", reason=failed)

    async def _check(self, names: Sequence[str]) -> None:
        """Read when the CA suggests to renew certificates (RFC 9773)."""
        try:
            for name in names:
                issued, retry_after_s = self._source.find(name), None
                if issued is None:
                    continue
                try:
                    window = await self._orderer.run(lambda client, pem=issued.pem: client.renewal_window(pem))  # type: ignore[misc]
                    if window is not None:
                        retry_after_s = window.retry_after_s
                        self._schedule.suggest_window(name, window.start, window.end)
                except OrderFailed as failed:
                    log.info("suggested time of renewal not read", name=name, reason=failed)
                self._schedule.checked(name, retry_after_s, self._clock())
        finally:
            self._checking = False
            self._changed.set()


def is_public(name: str) -> bool:
    """Return whether a CA can issue for a host name: a private CA may know names that the public DNS does not."""
    *_, last = labels = name.split(".")
    return len(labels) > 1 and last != "localhost" and not last.isdigit() and not name.startswith("[") and "_" not in name
