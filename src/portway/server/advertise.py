"""What a server says of itself: to agents in join strings, to visitors in URLs, to whoever runs it at the start."""

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
    """Return what agents dial, with the real port where the settings asked for any."""
    address = settings.advertised
    return address if address.port else ListenAddress(address.host, real_port)


def advertised_endpoint(settings: ServerSettings, identity: Identity, advertised: ListenAddress) -> Advertised:
    """Return what join strings say of this server."""
    pin = "" if identity.pin is None or settings.plaintext_links else identity.pin.hex()
    return Advertised(advertised.host, advertised.port, pin, settings.plaintext_links)


def listening_event(settings: ServerSettings, http: Address, agents: Address, advertised: ListenAddress) -> Listening:
    """Return what the operator is told once all listeners are open."""
    tcp_ports = str(settings.tcp_ports)
    data = "" if _is_usual(settings.data) else str(settings.data.absolute())
    return Listening(_text(http), _text(agents), str(advertised), tcp_ports, settings.domain, settings.plaintext_links, data)


def public_addresses(settings: ServerSettings, advertised: ListenAddress, http_port: int) -> PublicAddresses:
    """Return how the server's addresses look from outside."""
    tcp_host = "127.0.0.1" if settings.is_local else settings.domain
    return PublicAddresses(settings.domain, _reserved_hosts(advertised.host), http_port, tcp_host, settings.public_url)


def _reserved_hosts(host: str) -> frozenset[str]:
    """Return the name that agents dial, if it is one: nobody may claim it."""
    with contextlib.suppress(ValueError):
        ipaddress.ip_address(host)
        return frozenset()
    with contextlib.suppress(PeerError):
        return frozenset({normalise_host(host)})
    return frozenset()


def _is_usual(data: Path) -> bool:
    """Return whether commands of this user find the data directory without being told."""
    with contextlib.suppress(ConfigError):
        return data == data_dir()
    return False


def _text(address: Address) -> str:
    return str(ListenAddress(*address))
