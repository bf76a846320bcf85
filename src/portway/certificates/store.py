"""All certificates of a server: asks its sources in order, for every handshake."""

import ssl
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, Self

from portway.certificates.contexts import VisitorContext
from portway.certificates.events import CertificateEvent, EventSink
from portway.certificates.interfaces import CertificateSource
from portway.clock import Clock, wall
from portway.config.reloading import reload_requests
from portway.errors import ConfigError

if TYPE_CHECKING:
    from portway.certificates.acme.source import AcmeSource


class CertificateSettings(Protocol):
    """The settings that decide which sources there are."""

    @property
    def data(self) -> Path:
        """The data directory."""

    @property
    def domain(self) -> str:
        """The server's domain."""

    @property
    def is_local(self) -> bool:
        """Whether the domain is this machine only."""

    @property
    def https_address(self) -> object | None:
        """The address of the TLS port, None without one: then no certificates are needed."""

    @property
    def certificates(self) -> Path | None:
        """The directory with the operator's certificates."""

    @property
    def acme_email(self) -> str:
        """Contact of the CA that certificates are ordered from; empty: none are."""

    @property
    def acme_directory(self) -> str:
        """URL of that CA."""

    @property
    def dev_tls(self) -> bool:
        """Whether the development CA counts as trusted."""


class ManagedSource(CertificateSource, Protocol):
    """A source with a life of its own."""

    def open(self) -> AbstractAsyncContextManager[None]:
        """Load certificates, and reload or renew them within the block, never on the event loop.

        Raises:
            ConfigError: the operator has to correct something before the server can start.
        """

    def reload(self) -> None:
        """Read everything again soon."""

    def load(self) -> list[CertificateEvent]:
        """Read what is saved and return the events that describe it, for `portway certificates` without a running server. Changes nothing.

        Raises:
            ConfigError: it cannot be read.
        """


class CertificateStore:
    """The certificates of a server (a `CertificateSource`).

    Use: `store = CertificateStore(settings, on_event)`; within `async with store.open():` ask `context_for` for each handshake.
    Without a source (`store.sources` is empty) https cannot be served. Each process that serves or prints URLs opens its own: with workers,
    only that of the supervisor should report events; `on_event` of the others does nothing.
    """

    def __init__(self, settings: CertificateSettings, on_event: EventSink, *, clock: Clock = wall) -> None:
        """Read nothing before `open`.

        Raises:
            ConfigError: the package cryptography is missing.
        """
        self.sources: list[ManagedSource] = []
        """In the order in which they are asked."""
        self.acme: AcmeSource | None = None
        """The source with certificates of a CA, which `orders` adds to."""
        if settings.https_address is not None:
            self._add_sources(settings, on_event, clock)

    def context_for(self, name: str) -> VisitorContext | None:
        """Return the context for a normalised host name, None without a certificate.

        The first source that visitors can trust for it is used; without one, the first that has any certificate, even an expired one.
        """
        for source in self.sources:
            if source.has_trusted(name):
                return source.context_for(name)
        for source in self.sources:
            if (context := source.context_for(name)) is not None:
                return context
        return None

    def has_trusted(self, name: str) -> bool:
        """Return whether visitors can be sent to https for this name."""
        for source in self.sources:  # noqa: SIM110 - for each new visitor over plain HTTP: `any` costs three calls more
            if source.has_trusted(name):
                return True
        return False

    def needs_no_order(self, name: str) -> bool:
        """Return whether a source that comes before ACME has a certificate that visitors can trust."""
        for source in self.sources:
            if source is self.acme:
                return False
            if source.has_trusted(name):
                return True
        return False

    def challenge_context(self, name: str) -> ssl.SSLContext | None:
        """Return the context for TLS-ALPN-01; None without a pending order."""
        return None if self.acme is None else self.acme.challenge_context(name)

    def is_ordered(self, name: str) -> bool:
        """Return whether the first certificate for this name is being ordered."""
        return self.acme is not None and self.acme.is_ordered(name)

    def http_challenge(self, name: str, token: str) -> bytes | None:
        """Return the response to HTTP-01; None without a pending order."""
        return None if self.acme is None else self.acme.http_challenge(name, token)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Self]:
        """Load all certificates, and keep them up to date within the block, also by requests of the operator (`server.reloading`).

        Raises:
            ConfigError: a source cannot be used; the operator has to correct something.
        """
        async with AsyncExitStack() as stack:
            for source in self.sources:
                await stack.enter_async_context(source.open())
            stack.enter_context(reload_requests.received_by(self.reload))
            yield self

    def reload(self) -> None:
        """Read all files again soon, as after SIGHUP."""
        for source in self.sources:
            source.reload()

    def load(self) -> list[CertificateEvent]:
        """Return events that describe what the sources have saved, without a running server. Blocks.

        Raises:
            ConfigError: a source cannot be read.
        """
        return [event for source in self.sources for event in source.load()]

    def _add_sources(self, settings: CertificateSettings, on_event: EventSink, clock: Clock) -> None:
        """Add the sources that the settings ask for: files, ACME, development CA."""
        try:
            if settings.certificates is not None:
                from portway.certificates.file_source import FileSource  # noqa: PLC0415 - cryptography takes 60 ms

                self.sources.append(FileSource(settings.certificates, on_event, clock))
            if settings.acme_email:
                from portway.certificates.acme.files import AcmeFiles  # noqa: PLC0415 - see above
                from portway.certificates.acme.source import AcmeSource  # noqa: PLC0415 - see above

                self.acme = AcmeSource(AcmeFiles.for_ca(settings.data, settings.acme_directory), on_event, clock)
                self.sources.append(self.acme)
            if settings.dev_tls or settings.is_local:
                from portway.certificates.dev_source import DevelopmentSource  # noqa: PLC0415 - see above

                trusted = settings.dev_tls
                self.sources.append(DevelopmentSource(settings.data, settings.domain, trusted=trusted, on_event=on_event, clock=clock))
        except ImportError as exc:
            raise ConfigError("missing package cryptography: certificates require it; install portway[server]") from exc
