"""The program `portway proxy`: wires settings, policy, users and ways out together, serves, and stops gracefully."""

import asyncio
import secrets
from contextlib import ExitStack, closing
from functools import partial

from portway.edge.random_pool import RandomPool
from portway.engine.reactor import Reactor
from portway.errors import ConfigError
from portway.forward.config.files import ForwardFiles, LoadedFiles
from portway.forward.config.reloading import Apply, ForwardReloading
from portway.forward.connect.direct import DirectConnector
from portway.forward.connect.routes import RoutedConnector
from portway.forward.events import EventSink, Listening, Notice, Stopping
from portway.forward.no_users import NoUsers
from portway.forward.policy.policy import RulePolicy
from portway.forward.proxy import ForwardProxy
from portway.forward.settings import ForwardSettings
from portway.forward.tls_context import tls_context
from portway.forward.users.directory import PasswordUsers
from portway.links.listen_sockets import listen_for_setting

DRAIN_S_MAX = 3.0
"""How long tunnels may finish after a stop."""

DRAIN_CHECK_S = 0.05


async def serve(
    settings: ForwardSettings, *, on_event: EventSink, stop: asyncio.Event | None = None, reloading: ForwardReloading | None = None
) -> None:
    """Serve clients until `stop` is set or this is cancelled; tunnels may then finish for at most 3 s.

    With `reloading`, files that change are read again meanwhile.

    Raises:
        ConfigError: the settings or a file cannot be used.
        UnavailableError: the address is in use.
    """
    check_exposure(settings, has_users=settings.users is not None)
    tls = tls_context(settings)
    files = ForwardFiles()
    loaded = await asyncio.to_thread(files.load, settings)
    reactor = Reactor(asyncio.get_running_loop())
    try:
        policy = RulePolicy(loaded.rules)
        with ExitStack() as stack, closing(DirectConnector(reactor, lambda: policy, dns_cache_s=settings.dns_cache_ttl_s)) as connector:
            ways = RoutedConnector(reactor, connector, lambda: policy, settings.via) if settings.via else connector
            proxy = ForwardProxy(
                reactor,
                settings,
                policy=policy,
                users=NoUsers(),
                connector=ways,
                resolve=ways.resolve,
                random_bytes=RandomPool(secrets.token_bytes),
                on_event=on_event,
                tls=tls,
            )
            with closing(proxy):
                if loaded.users is not None:
                    proxy.users = users = PasswordUsers(reactor, loaded.users, proxy.end_tunnels_of)
                    stack.callback(users.close)
                sock = listen_for_setting(settings.listen, "listen")
                proxy.listen(sock)
                host, port = sock.getsockname()[:2]
                shown = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
                destination = "" if settings.destination is None else str(settings.destination)
                on_event(Listening(shown, tls is not None, proxy.users.required, destination))
                for note in loaded.notes:
                    on_event(Notice(note))
                try:
                    await _wait(stop or asyncio.Event(), reloading, settings, files, partial(_apply, proxy, policy), on_event)
                finally:
                    await _drain(proxy, on_event)
    finally:
        reactor.close()


async def _wait(
    stop: asyncio.Event,
    reloading: ForwardReloading | None,
    settings: ForwardSettings,
    files: ForwardFiles,
    apply: Apply,
    on_event: EventSink,
) -> None:
    """Wait for the end, and reload files meanwhile."""
    async with asyncio.TaskGroup() as group:
        watch = None if reloading is None else group.create_task(reloading.run(settings, files, apply, on_event), name="reloading")
        await stop.wait()
        if watch is not None:
            watch.cancel()


def _apply(proxy: ForwardProxy, policy: RulePolicy, settings: ForwardSettings, loaded: LoadedFiles) -> None:
    """Use what was read from changed files."""
    policy.rules = loaded.rules
    proxy.apply(settings)
    proxy.plain.forget_connections()
    if isinstance(proxy.users, PasswordUsers) and loaded.users is not None:
        proxy.users.replace(loaded.users)


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
