"""Automatic orders of certificates, where the settings ask for them."""

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from portway.certificates.events import EventSink
from portway.certificates.store import CertificateStore
from portway.errors import ConfigError

if TYPE_CHECKING:
    from portway.certificates.acme.build import AcmeOptions
    from portway.certificates.acme.manager import AcmeManager, CertificatePublisher


@asynccontextmanager
async def open_orders(
    settings: "AcmeOptions",
    certificates: CertificateStore,
    on_event: EventSink,
    publisher: "CertificatePublisher | None" = None,
    *,
    https: socket.socket | None,
) -> AsyncIterator["AcmeManager | None"]:
    """Order certificates within this block, after `certificates.open`; yield None if the settings ask for none.

    For the one process that orders; `publisher` reaches the others. Without the port `https` nothing is
    ordered: another program has it.

    Raises:
        ConfigError: a package is missing, or a file that the settings name cannot be used.
    """
    if certificates.acme is None or https is None:
        yield None
        return
    try:
        from portway.certificates.acme.build import acme_manager  # noqa: PLC0415 - takes 0.2 s
    except ImportError as exc:
        raise ConfigError("acme_email: missing package acme; install portway[server]") from exc
    manager = acme_manager(settings, certificates.acme, publisher, is_covered=certificates.needs_no_order, on_event=on_event)
    async with manager.open():
        yield manager
