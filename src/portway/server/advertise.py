"""Addresses that the server advertises: in join strings for agents, in URLs for visitors, and in its start-up event."""

import contextlib
import ipaddress
import socket
from pathlib import Path
from typing import Protocol

from portway.config.paths import data_dir
from portway.config.values import ListenAddress
from portway.errors import ConfigError, PeerError
from portway.protocol.names import normalise_host
from portway.server.events import Listening
from portway.server.identity import Advertised, Identity
from portway.server.listeners import Listeners
from portway.server.settings import ServerSettings
from portway.server.tunnels.addresses import PublicAddresses


def advertised_address(settings: ServerSettings, listeners: Listeners) -> ListenAddress:
    """Return the address that agents dial, with the actual port where the settings have 0."""
    address = settings.advertised
    if address.port:
        return address
    listener = listeners.agents or listeners.https
    return ListenAddress(address.host, 0 if listener is None else _port(listener))


def advertised_endpoint(settings: ServerSettings, identity: Identity, advertised: ListenAddress) -> Advertised:
    """Return what join strings contain about this server."""
    pin = "" if identity.pin is None or settings.plaintext_links else identity.pin.hex()
    return Advertised(advertised.host, advertised.port, pin, settings.plaintext_links)


def listening_event(settings: ServerSettings, listeners: Listeners) -> Listening:
    """Return the start-up event, for when all listeners are open."""
    return Listening(
        _text(listeners.http),
        _text(listeners.agents),
        str(advertised_address(settings, listeners)),
        str(settings.tcp_ports),
        settings.domain,
        settings.plaintext_links,
        "" if _is_default(settings.data) else str(settings.data.absolute()),
        _text(listeners.https),
        listeners.https_failure,
    )


class AddressCertificates(Protocol):
    """What URLs depend on."""

    def has_trusted(self, name: str) -> bool:
        """Return whether visitors can be sent to https for this name."""

    def is_ordered(self, name: str) -> bool:
        """Return whether the first certificate for this name is being ordered."""


def public_addresses(settings: ServerSettings, listeners: Listeners, certificates: AddressCertificates) -> PublicAddresses:
    """Return the server's public addresses; names with a certificate that browsers trust, or whose first one is ordered, get https URLs."""

    def has_https(host: str) -> bool:
        return certificates.has_trusted(host) or certificates.is_ordered(host)

    return PublicAddresses(
        settings.domain,
        _reserved_hosts(advertised_address(settings, listeners).host),
        http_port=_port(listeners.http),
        tcp_host="127.0.0.1" if settings.is_local else settings.domain,
        public_url=settings.public_url,
        https_port=None if listeners.https is None else _port(listeners.https),
        has_https=has_https,
    )


def _reserved_hosts(host: str) -> frozenset[str]:
    """Return the host that agents dial, if it is a name: claims of it are refused."""
    with contextlib.suppress(ValueError):
        ipaddress.ip_address(host)
        return frozenset()
    with contextlib.suppress(PeerError):
        return frozenset({normalise_host(host)})
    return frozenset()


def _is_default(data: Path) -> bool:
    """Return whether commands of this user find the data directory without --data."""
    with contextlib.suppress(ConfigError):
        return data == data_dir()
    return False


def _text(listener: socket.socket | None) -> str:
    return "" if listener is None else str(ListenAddress(*listener.getsockname()[:2]))


def _port(listener: socket.socket) -> int:
    port: int = listener.getsockname()[1]
    return port
