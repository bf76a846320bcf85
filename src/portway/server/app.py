"""The server put together: store and identity, registry, listeners for visitors and agents, and a clean end."""

import asyncio
import contextlib
import hashlib
import ipaddress
import secrets
import socket
import ssl
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

from portway.clock import wall
from portway.config.values import ListenAddress
from portway.engine.listener import Address, Listener
from portway.engine.reactor import Reactor
from portway.errors import ConfigError, PeerError
from portway.links.accept import LinkListener
from portway.links.tls import server_context
from portway.protocol.names import normalise_host
from portway.protocol.scram import certificate_binding
from portway.server.edge.http.edge import HttpEdge
from portway.server.edge.http.settings import HttpEdgeSettings
from portway.server.edge.tcp import TcpEdge, TcpEdgeSettings
from portway.server.events import Listening, ServerEvent, Stopping
from portway.server.granting import Granter
from portway.server.identity import Advertised, Identity, identity_of, record_advertised
from portway.server.listening import open_listener, open_port
from portway.server.places import Places
from portway.server.sessions import DoorSettings, Sessions
from portway.server.settings import ServerSettings
from portway.server.store import FILE, Store
from portway.server.tunnels.addresses import PublicAddresses
from portway.server.tunnels.registry import Registry

DRAIN_S_MAX = 3.0
"""How long visitors may finish after the server was told to stop; the command line gives it 5 s in all."""

DRAIN_LOOK_S = 0.05

Tell = Callable[[ServerEvent], None]


async def serve(settings: ServerSettings, *, on_event: Tell, stop: asyncio.Event | None = None, tell_relays: bool = False) -> None:
    """Serve visitors and agents until `stop` is set or this is cancelled; then drain, for 3 s at most.

    `on_event` is told of every step and must not block; with `tell_relays`, of every request, tcp
    connection and WebSocket that is over, too.

    Raises:
        ConfigError: the settings, the data directory or a file in it cannot be used.
        UnavailableError: an address is in use.
    """
    reactor = Reactor(asyncio.get_running_loop())
    async with AsyncExitStack() as house:
        house.callback(reactor.close)
        store = house.enter_context(Store(settings.data / FILE))
        identity = identity_of(settings)
        registry = Registry(reactor.soon, grace_s=settings.grace_s, first_epoch=_first_epoch())

        places = Places(reactor, on_event)
        on_done = on_event if tell_relays else None
        edge_settings = HttpEdgeSettings(hold_s=settings.hold_s, tell_visitors=settings.log_visitors)
        http_edge = HttpEdge(reactor, registry, edge_settings, places, on_done=on_done)
        house.callback(http_edge.close)
        http = Listener(reactor, open_listener(settings.http, "http"), http_edge.accept)
        house.callback(http.close)
        tcp_edge = _tcp_edge(reactor, settings, places, on_done)

        sessions = Sessions(reactor, registry, store, _door(settings, identity), on_event=on_event, random_bytes=secrets.token_bytes)
        agents_sock = open_listener(settings.agents, "agents")
        house.callback(agents_sock.close)
        advertised = _advertised(settings, agents_sock.getsockname()[1])
        addresses = _public_addresses(settings, advertised, http.address[1])
        sessions.granter = Granter(
            reactor,
            registry,
            sessions,
            tcp_edge,
            addresses=addresses,
            tcp_ports=settings.tcp_ports,
            on_event=on_event,
            random_bytes=secrets.token_bytes,
        )

        await house.enter_async_context(sessions.open())
        agents = LinkListener(reactor, agents_sock, _context(settings, identity), sessions.accept, sessions.handshake_failed)
        house.callback(agents.close)
        record_advertised(settings.data, _to_dial(settings, identity, advertised))
        on_event(_news(settings, http.address, agents.address, advertised))
        try:
            await (stop or asyncio.Event()).wait()
        finally:
            on_event(Stopping("the server was told to stop"))
            http.close()
            agents.close()
            tcp_edge.stop_listening()
            sessions.drain("the server is stopping")
            await _drain(lambda: tcp_edge.visitors + http_edge.busy)


def _tcp_edge(reactor: Reactor, settings: ServerSettings, places: Places, on_relay: Tell | None) -> TcpEdge:
    def listen(port: int) -> socket.socket:
        return open_port(ListenAddress(settings.tcp_host, port))

    edge_settings = TcpEdgeSettings(hold_s=settings.hold_s, tell_visitors=settings.log_visitors)
    return TcpEdge(reactor, listen, secrets.token_bytes, edge_settings, places, on_relay)


async def _drain(visitors: Callable[[], int]) -> None:
    """Wait until nobody is served any more, but not for ever."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(DRAIN_S_MAX):
            while visitors():  # noqa: ASYNC110 - two dozen looks in a program's life; events would cost every visitor
                await asyncio.sleep(DRAIN_LOOK_S)


def _door(settings: ServerSettings, identity: Identity) -> DoorSettings:
    return DoorSettings(
        binding=None if settings.plaintext_links else certificate_binding(_certificate_der(identity.cert_file)),
        # The server's key never leaves it and outlives restarts, and so does what strangers are told of unknown tokens.
        decoy_seed=hashlib.sha256(b"portway decoy" + identity.key_file.read_bytes()).digest(),
        grace_s=settings.grace_s,
        speed_tests=not settings.no_speed_test,
    )


def _context(settings: ServerSettings, identity: Identity) -> ssl.SSLContext | None:
    return None if settings.plaintext_links else server_context(str(identity.cert_file), str(identity.key_file))


def _certificate_der(path: Path) -> bytes:
    """Return the first certificate of a PEM file: the one that links show."""
    begin, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
    try:
        text = path.read_text("ascii")
        return ssl.PEM_cert_to_DER_cert(text[text.index(begin) : text.index(end) + len(end)])
    except (OSError, ValueError) as exc:
        raise ConfigError(f"{path}: holds no certificate: {exc}") from exc


def _advertised(settings: ServerSettings, real_port: int) -> ListenAddress:
    """Return what agents dial, with the real port where the settings asked for any."""
    address = settings.advertised
    return address if address.port else ListenAddress(address.host, real_port)


def _to_dial(settings: ServerSettings, identity: Identity, advertised: ListenAddress) -> Advertised:
    """Return what join strings say of this server."""
    pin = "" if identity.pin is None or settings.plaintext_links else identity.pin.hex()
    return Advertised(advertised.host, advertised.port, pin, settings.plaintext_links)


def _news(settings: ServerSettings, http: Address, agents: Address, advertised: ListenAddress) -> Listening:
    """Return what the operator is told once all listeners are open."""
    tcp_ports = str(settings.tcp_ports)
    return Listening(_text(http), _text(agents), str(advertised), tcp_ports, settings.domain, settings.plaintext_links)


def _public_addresses(settings: ServerSettings, advertised: ListenAddress, http_port: int) -> PublicAddresses:
    tcp_host = "127.0.0.1" if settings.is_local else settings.domain
    return PublicAddresses(settings.domain, _own_hosts(advertised.host), http_port, tcp_host)


def _own_hosts(host: str) -> frozenset[str]:
    """Return the name that agents dial, if it is one: nobody may claim it."""
    with contextlib.suppress(ValueError):
        ipaddress.ip_address(host)
        return frozenset()
    with contextlib.suppress(PeerError):
        return frozenset({normalise_host(host)})
    return frozenset()


def _first_epoch() -> int:
    """Return where epochs start: beyond those of the last run, without having to keep them."""
    return int(wall() * 1000) << 10


def _text(address: Address) -> str:
    return str(ListenAddress(*address))
