"""Addresses that the server advertises: in join strings for agents, in URLs for visitors, and in its start-up event."""

import contextlib
import ipaddress
from pathlib import Path

from portway.config.paths import data_dir
from portway.config.values import ListenAddress
from portway.engine.listener import Address
from portway.errors import ConfigError, PeerError
from portway.protocol.names import normalise_host
from portway.server.events import Listening
from portway.server.identity import Advertised, Identity
from portway.server.settings import ServerSettings
from portway.server.tunnels.addresses import PublicAddresses


def advertised_address(settings: ServerSettings, real_port: int) -> ListenAddress:
    """Return the address that agents dial, with the actual port where the settings have 0."""
    address = settings.advertised
    return address if address.port else ListenAddress(address.host, real_port)


def advertised_endpoint(settings: ServerSettings, identity: Identity, advertised: ListenAddress) -> Advertised:
    """Return what join strings contain about this server."""
    pin = "" if identity.pin is None or settings.plaintext_links else identity.pin.hex()
    return Advertised(advertised.host, advertised.port, pin, settings.plaintext_links)


def listening_event(settings: ServerSettings, http: Address, agents: Address, advertised: ListenAddress) -> Listening:
    """Return the start-up event, for when all listeners are open."""
    tcp_ports = str(settings.tcp_ports)
    data = "" if _is_default(settings.data) else str(settings.data.absolute())
    return Listening(_text(http), _text(agents), str(advertised), tcp_ports, settings.domain, settings.plaintext_links, data)


def public_addresses(settings: ServerSettings, advertised: ListenAddress, http_port: int) -> PublicAddresses:
    """Return the server's public addresses."""
    tcp_host = "127.0.0.1" if settings.is_local else settings.domain
    return PublicAddresses(settings.domain, _reserved_hosts(advertised.host), http_port, tcp_host, settings.public_url)


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


def _text(address: Address) -> str:
    return str(ListenAddress(*address))
