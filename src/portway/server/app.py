"""The single-process server: wires store, identity, registry and listeners together, serves, and stops gracefully."""

import asyncio
import secrets
import socket
from contextlib import AsyncExitStack, closing

from portway.certificates.orders import open_orders
from portway.certificates.store import CertificateStore
from portway.clock import wall
from portway.config.values import ListenAddress
from portway.engine.reactor import Reactor
from portway.links.listen_sockets import listen_on
from portway.server.advertise import advertised_address, advertised_endpoint, listening_event, public_addresses
from portway.server.control.claims import ClaimHandler
from portway.server.core import ServerCore
from portway.server.events import EventSink, Stopping
from portway.server.identity import record_advertised
from portway.server.listeners import open_listeners
from portway.server.settings import ServerSettings
from portway.server.storage.data_directory import locked, open_state
from portway.server.storage.token_reader import TokenReader
from portway.server.tunnels.registry import Registry, first_epoch


async def serve(settings: ServerSettings, *, on_event: EventSink, stop: asyncio.Event | None = None, report_relays: bool = False) -> None:
    """Serve visitors and agents until `stop` is set or this is cancelled; then drain, for at most 3 s.

    `on_event` receives every event; with `report_relays`, also one for each finished request, tcp connection and WebSocket.
    Runs in this process only and ignores `settings.workers` (see `server.workers.supervisor`).

    Raises:
        ConfigError: the settings, the data directory or a file in it cannot be used.
        UnavailableError: an address is in use.
    """
    reactor = Reactor(asyncio.get_running_loop())
    async with AsyncExitStack() as stack:
        stack.callback(reactor.close)
        stack.enter_context(locked(settings.data))
        store, identity = open_state(settings)
        tokens = stack.enter_context(TokenReader(store))
        registry = Registry(reactor.call_soon, grace_s=settings.grace_s, first_epoch=first_epoch(wall()))

        def listen(port: int) -> socket.socket:
            return listen_on(ListenAddress(settings.tcp_host, port))

        certificates = CertificateStore(settings, on_event)
        core = ServerCore(
            reactor,
            settings,
            identity,
            tokens,
            registry,
            listen=listen,
            on_event=on_event,
            report_relays=report_relays,
            certificates=certificates,
        )
        listeners = stack.enter_context(closing(open_listeners(settings)))
        await stack.enter_async_context(certificates.open())
        orders = await stack.enter_async_context(open_orders(settings, certificates, on_event, https=listeners.https))
        core.sessions.dispatcher.claim_handler = ClaimHandler(
            reactor,
            registry,
            core.sessions,
            core.tcp,
            addresses=public_addresses(settings, listeners, certificates),
            tcp_ports=settings.tcp_ports,
            on_event=on_event,
            random_bytes=secrets.token_bytes,
            certificates=orders,
        )
        # Before serving, because a slow disk blocks the loop here.
        record_advertised(settings.data, advertised_endpoint(settings, identity, advertised_address(settings, listeners)))
        async with core.serve(listeners.http, listeners.https, listeners.agents):
            on_event(listening_event(settings, listeners))
            try:
                await (stop or asyncio.Event()).wait()
            finally:
                on_event(Stopping("stop requested"))
                await core.drain("the server is stopping")
