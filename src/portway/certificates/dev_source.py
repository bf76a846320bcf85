"""Source of certificates: the development CA, which signs one for each name when it is first visited."""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from portway.certificates.contexts import VisitorContext
from portway.certificates.dev_ca import DevelopmentCa, ensure_ca, read_ca
from portway.certificates.events import CertificateEvent, CertificateFailed, CertificateUp, EventSink
from portway.certificates.served import ServedCertificate
from portway.clock import Clock
from portway.errors import ConfigError

SOURCE = "dev"

LEAVES_MAX = 1_000
"""Names with a certificate; each takes 20 kB. Beyond, the one that was not used for longest is dropped, and signed again on demand."""

RENEW_PART = 2 / 3
"""Part of its life after which a leaf is replaced."""


class DevelopmentSource:
    """Certificates by the development CA, for the server's domain and `localhost`. Callers ask only for names that have a tunnel."""

    def __init__(self, data: Path, domain: str, *, trusted: bool, on_event: EventSink, clock: Clock) -> None:
        """Read nothing before `open`. `trusted` means that browsers trust the root: visitors can be sent to https. `clock` is `clock.wall`."""
        self._data = data
        self._domain = domain
        self._trusted = trusted
        self._on_event = on_event
        self._clock = clock
        self._ca: DevelopmentCa | None = None
        self._leaves: OrderedDict[str, ServedCertificate] = OrderedDict()

    def context_for(self, name: str) -> VisitorContext | None:
        """Return the context for `name`. The first call for a name takes 2 ms: fewer than signing in a thread would make its visitor wait."""
        if self._ca is None or not self._ca.allows(name):
            return None
        now = self._clock()
        leaf = self._leaves.get(name)
        if leaf is None or self._is_due(leaf, now):
            leaf = self._leaves[name] = ServedCertificate(self._ca.sign(name, now), now)
            if len(self._leaves) > LEAVES_MAX:
                self._leaves.popitem(last=False)
        elif leaf.is_worn(now):
            leaf.renew_context(now)
        self._leaves.move_to_end(name)
        return leaf.context

    def has_trusted(self, name: str) -> bool:
        """Return whether the operator declared the root trusted, and it may sign for `name`."""
        return self._trusted and self._ca is not None and self._ca.allows(name)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Read or create the root. If that fails, visitors get no certificate from here.

        Raises:
            ConfigError: the root cannot be used although it is required (`trusted`).
        """
        try:
            self._ca = await asyncio.to_thread(ensure_ca, self._data, self._domain, self._clock())
        except ConfigError as exc:
            if self._trusted:
                raise ConfigError(f"dev_tls: {exc}") from exc
            self._on_event(CertificateFailed(SOURCE, self._domain, str(exc)))
        else:
            self._on_event(_root_up(self._domain, self._ca))
        yield

    def load(self) -> list[CertificateEvent]:
        """Return what to report about the root, without creating it. Blocks."""
        try:
            found = read_ca(self._data)
        except ConfigError as exc:
            return [CertificateFailed(SOURCE, self._domain, str(exc))]
        return [] if found is None else [_root_up(self._domain, found)]

    def reload(self) -> None:
        """Do nothing: the root is read once."""

    def _is_due(self, leaf: ServedCertificate, now: float) -> bool:
        begin, end = leaf.certificate.not_before, leaf.certificate.not_after
        return not begin <= now < begin + (end - begin) * RENEW_PART


def _root_up(domain: str, ca: DevelopmentCa) -> CertificateUp:
    names = tuple(dict.fromkeys([domain, f"*.{domain}"]))
    return CertificateUp(SOURCE, domain, names, "this server's development CA", ca.not_after)
