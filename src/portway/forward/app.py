"""The program `portway proxy`: wires settings, policy, users and ways out together, serves, and stops gracefully."""

import asyncio
import secrets
from contextlib import closing

from portway.engine.reactor import Reactor
from portway.errors import ConfigError
from portway.forward.connect.direct import DirectConnector
from portway.forward.events import EventSink, Listening, Stopping
from portway.forward.no_users import NoUsers
from portway.forward.proxy import ForwardProxy
from portway.forward.public_targets import PublicTargets
from portway.forward.settings import ForwardSettings
from portway.forward.tls_context import tls_context
from portway.links.listen_sockets import listen_for_setting

DRAIN_S_MAX = 3.0
"""How long tunnels may finish after a stop."""

DRAIN_CHECK_S = 0.05


async def serve(settings: ForwardSettings, *, on_event: EventSink, stop: asyncio.Event | None = None) -> None:
    """Serve clients until `stop` is set or this is cancelled; tunnels may then finish for at most 3 s.

    Raises:
        ConfigError: the settings or a file cannot be used.
        UnavailableError: the address is in use.
    """
    check_exposure(settings, has_users=False)
    tls = tls_context(settings)
    reactor = Reactor(asyncio.get_running_loop())
    try:
        policy = PublicTargets(allow_private=settings.allow_private or settings.destination is not None)
        with closing(DirectConnector(reactor, lambda: policy, dns_cache_s=settings.dns_cache_ttl_s)) as connector:
            proxy = ForwardProxy(
                reactor,
                settings,
                policy=policy,
                users=NoUsers(),
                connector=connector,
                random_bytes=secrets.token_bytes,
                on_event=on_event,
                tls=tls,
            )
            with closing(proxy):
                sock = listen_for_setting(settings.listen, "listen")
                proxy.listen(sock)
                host, port = sock.getsockname()[:2]
                shown = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
                destination = "" if settings.destination is None else str(settings.destination)
                on_event(Listening(shown, tls is not None, proxy.users.required, destination))
                try:
                    await (stop or asyncio.Event()).wait()
                finally:
                    await _drain(proxy, on_event)
    finally:
        reactor.close()


def check_exposure(settings: ForwardSettings, *, has_users: bool) -> None:
    """Refuse an open proxy that the settings do not ask for in as many words.

    Raises:
        ConfigError: everyone on the network could use the proxy.
    """
    if not (settings.is_local or settings.open or has_users):
        raise ConfigError(
            f"--listen: {settings.listen} is reachable from other machines, and the proxy has no users: all of them could use it. "
            "Give --users FILE, listen on 127.0.0.1, or add --open if that is intended"
        )


async def _drain(proxy: ForwardProxy, on_event: EventSink) -> None:
    """Accept no further clients, and wait a bounded time for the others."""
    proxy.stop_listening()
    on_event(Stopping(proxy.clients))
    waited = 0.0
    while proxy.clients and waited < DRAIN_S_MAX:
        await asyncio.sleep(DRAIN_CHECK_S)
        waited += DRAIN_CHECK_S
