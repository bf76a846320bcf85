"""The certificates of tunnels that end TLS at the agent: from files, from a CA by ACME (TLS-ALPN-01), or from a development CA."""

import asyncio
import ssl
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from portway.agent.termination.pair_source import PairSource
from portway.agent.termination.settings import Termination
from portway.certificates.contexts import VisitorContext
from portway.certificates.events import CertificateEvent, CertificateFailed, CertificateUp
from portway.clock import wall
from portway.config.values import ListenAddress
from portway.errors import ConfigError

if TYPE_CHECKING:
    from portway.certificates.acme.manager import AcmeManager

CHALLENGE_ALPN = b"acme-tls/1"

Spawn = Callable[[Coroutine[Any, Any, None], str], None]
"""Runs a coroutine in the background until the agent stops."""


class TunnelCertificates(Protocol):
    """The certificates of one tunnel."""

    def context_for(self, name: str, alpn: bytes) -> ssl.SSLContext | VisitorContext | None:
        """Return the context for a handshake by server name and first ALPN; None while there is no certificate."""

    def on_host(self, host: str) -> None:
        """Prepare for the host that the server granted; may be called again."""


def tunnel_certificates(termination: Termination, data: Path | None, spawn: Spawn, on_notice: Callable[[str], None]) -> TunnelCertificates:
    """Return the certificates of one tunnel; what keeps them up to date runs by `spawn`. Blocks while it reads files.

    Raises:
        ConfigError: a file cannot be used, or a package is missing.
    """
    if termination.cert is not None and termination.key is not None:
        return _PairCertificates(PairSource(termination.cert, termination.key, wall), spawn, on_notice)
    if data is None:
        raise ConfigError("--terminate: without a data directory the agent cannot keep certificates: give --data, or --cert and --key")
    try:
        if termination.acme_email:
            return _AcmeCertificates(termination, data, spawn, on_notice)
        return _DevelopmentCertificates(data, spawn, on_notice)
    except ImportError as exc:
        raise ConfigError("--terminate: missing packages for certificates; install portway[server], or give --cert and --key") from exc


class _PairCertificates:
    def __init__(self, source: PairSource, spawn: Spawn, on_notice: Callable[[str], None]) -> None:
        self._source = source
        spawn(source.watch(on_notice), "watch certificate files")

    def context_for(self, name: str, _alpn: bytes) -> VisitorContext | None:
        return self._source.context_for(name)

    def on_host(self, host: str) -> None:
        """Do nothing: the files are for every name."""


class _DevelopmentCertificates:
    def __init__(self, data: Path, spawn: Spawn, on_notice: Callable[[str], None]) -> None:
        from portway.certificates.dev_source import DevelopmentSource  # noqa: PLC0415 - cryptography takes 60 ms

        self._make = DevelopmentSource
        self._data = data
        self._spawn = spawn
        self._on_notice = on_notice
        self._source: DevelopmentSource | None = None

    def context_for(self, name: str, _alpn: bytes) -> VisitorContext | None:
        return None if self._source is None else self._source.context_for(name)

    def on_host(self, host: str) -> None:
        if self._source is None:
            domain = host.partition(".")[2] or host
            self._source = self._make(self._data, domain, trusted=False, on_event=self._on_event, clock=wall)
            self._spawn(self._open(self._source), "open the development CA")

    def _on_event(self, event: CertificateEvent) -> None:
        if isinstance(event, CertificateFailed):
            self._on_notice(f"development CA: {event.reason}")
        elif isinstance(event, CertificateUp):
            self._on_notice(
                "the certificate is of this agent's development CA, which browsers do not trust: `portway trust --install` on this machine adds it"
            )

    @staticmethod
    async def _open(source: Any) -> None:
        async with source.open():
            await asyncio.get_running_loop().create_future()


class _AcmeCertificates:
    def __init__(self, termination: Termination, data: Path, spawn: Spawn, on_notice: Callable[[str], None]) -> None:
        from portway.certificates.acme.build import acme_manager  # noqa: PLC0415 - takes 0.2 s
        from portway.certificates.acme.client import TLS_ALPN_01  # noqa: PLC0415 - see above
        from portway.certificates.acme.files import AcmeFiles  # noqa: PLC0415 - see above
        from portway.certificates.acme.source import AcmeSource  # noqa: PLC0415 - see above

        self._on_notice = on_notice
        options = _AcmeOptions(data, termination.acme_email, termination.acme_directory, termination.acme_ca)
        self._source: AcmeSource = AcmeSource(AcmeFiles.for_ca(data, options.acme_directory), self._on_event, wall)
        self._manager: AcmeManager = acme_manager(options, self._source, kinds=(TLS_ALPN_01,), on_event=self._on_event)
        spawn(self._run(), "order certificates")

    def context_for(self, name: str, alpn: bytes) -> ssl.SSLContext | VisitorContext | None:
        return self._source.challenge_context(name) if alpn == CHALLENGE_ALPN else self._source.context_for(name)

    def on_host(self, host: str) -> None:
        self._manager.certificate_wanted(host, reserved=True)

    async def _run(self) -> None:
        async with self._source.open(), self._manager.open():
            await asyncio.get_running_loop().create_future()

    def _on_event(self, event: CertificateEvent) -> None:
        if isinstance(event, CertificateFailed):
            self._on_notice(f"no certificate for {event.id}: {event.reason}")
        elif isinstance(event, CertificateUp):
            self._on_notice(f"certificate for {', '.join(event.names)} from {event.issuer}")


@dataclass(frozen=True, slots=True)
class _AcmeOptions:
    """What the manager of orders reads (see `certificates.acme.build`)."""

    data: Path
    acme_email: str
    acme_directory: str
    acme_ca: Path | None
    domain: str = ""
    acme_eab: Path | None = None
    acme_random: bool = False
    acme_dns_hook: Path | None = None
    acme_dns_server: ListenAddress | None = None
    acme_dns_key: Path | None = None
