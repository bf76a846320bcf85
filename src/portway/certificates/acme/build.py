"""Creates the manager of automatic certificates from the server's settings."""

import os
import ssl
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from portway.certificates.acme.client import HTTP_01, TLS_ALPN_01, AcmeClient, read_external_account
from portway.certificates.acme.dns_records import DnsRecords, HookRecords
from portway.certificates.acme.files import AcmeFiles
from portway.certificates.acme.manager import AcmeManager, CertificatePublisher, LocalPublisher
from portway.certificates.acme.source import AcmeSource
from portway.certificates.events import EventSink
from portway.config.values import ListenAddress
from portway.errors import ConfigError


class AcmeOptions(Protocol):
    """The settings that this package reads (see `acme.settings`)."""

    @property
    def data(self) -> Path:
        """The data directory."""

    @property
    def domain(self) -> str:
        """The server's domain."""

    @property
    def acme_email(self) -> str:
        """The CA's contact."""

    @property
    def acme_directory(self) -> str:
        """URL of the CA's directory."""

    @property
    def acme_ca(self) -> Path | None:
        """Roots of the CA's own https."""

    @property
    def acme_eab(self) -> Path | None:
        """File with an external account."""

    @property
    def acme_random(self) -> bool:
        """Whether names may get a certificate that no token lists."""

    @property
    def acme_dns_hook(self) -> Path | None:
        """Program that changes TXT records."""

    @property
    def acme_dns_server(self) -> ListenAddress | None:
        """DNS server for updates."""

    @property
    def acme_dns_key(self) -> Path | None:
        """File with its TSIG key."""


def acme_manager(
    settings: AcmeOptions,
    source: AcmeSource,
    publisher: CertificatePublisher | None = None,
    *,
    kinds: Sequence[str] = (TLS_ALPN_01, HTTP_01),
    is_covered: Callable[[str], bool] = lambda _: False,
    on_event: EventSink,
) -> AcmeManager:
    """Return the manager of the process that orders, with challenges of these `kinds`. Without a `publisher` there is only this process.

    Raises:
        ConfigError: a file that the settings name cannot be used.
    """
    files, external = AcmeFiles.for_ca(settings.data, settings.acme_directory), None
    files.account_key()  # a key that cannot be read or saved is an error of the operator's, at the start
    if settings.acme_eab is not None:
        external = read_external_account(settings.acme_eab)
    if settings.acme_ca is not None:
        _check_roots(settings.acme_ca)

    def make_client() -> AcmeClient:
        return AcmeClient(files, settings.acme_directory, email=settings.acme_email, ca_file=settings.acme_ca, external=external)

    return AcmeManager(
        files,
        make_client,
        source,
        LocalPublisher(source) if publisher is None else publisher,
        domain=settings.domain,
        records=_records(settings),
        kinds=kinds,
        any_name=settings.acme_random,
        is_covered=is_covered,
        on_event=on_event,
    )


def _records(settings: AcmeOptions) -> DnsRecords | None:
    if settings.acme_dns_hook is not None:
        if not os.access(settings.acme_dns_hook, os.X_OK) or settings.acme_dns_hook.is_dir():
            raise ConfigError(f"acme_dns_hook: {settings.acme_dns_hook}: expected a program that this user can run")
        return HookRecords(settings.acme_dns_hook.absolute())
    if settings.acme_dns_server is None or settings.acme_dns_key is None:
        return None
    try:
        from portway.certificates.acme.dns_update import UpdateRecords, read_tsig_key  # noqa: PLC0415 - an extra
    except ImportError as exc:
        raise ConfigError("acme_dns_server: missing package dnspython; install portway[dns]") from exc
    server = settings.acme_dns_server
    sleep = time.sleep  # noqa: TID251 - runs in the thread of DNS changes
    return UpdateRecords(server.host, server.port, read_tsig_key(settings.acme_dns_key), sleep=sleep)


def _check_roots(path: Path) -> None:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except OSError as exc:
        raise ConfigError(f"acme_ca: {path}: expected root certificates as PEM: {exc.strerror or exc}") from exc
