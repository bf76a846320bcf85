"""The agent: wires identity, claims and origins, and keeps a session with the server until it is stopped."""

import asyncio
import random
import secrets
from collections.abc import Callable, Coroutine, Iterable
from typing import TYPE_CHECKING, Any

from portway.agent.context import SessionContext
from portway.agent.diagnosis import address_of
from portway.agent.draining import drain
from portway.agent.events import Connecting, EventSink, Notice, Offline, Refused
from portway.agent.first_contact import FirstContact
from portway.agent.host_check import HostCheck
from portway.agent.identity import find_identity
from portway.agent.listening import is_listening
from portway.agent.origins import Origins
from portway.agent.retrying import Retrying
from portway.agent.session import AgentSession
from portway.agent.settings import AgentSettings, TunnelRequest
from portway.agent.termination.terminator import Terminator
from portway.agent.tunnel_set import TunnelChanges, TunnelSet, claim_for
from portway.engine.reactor import Reactor
from portway.errors import ConfigError, PeerError, RefusedError, UnavailableError
from portway.links.tls import AgentTls, agent_tls
from portway.session.claims import Claims

if TYPE_CHECKING:
    from portway.agent.inspection import Inspection

ChangeTunnels = Callable[[TunnelSet], Coroutine[Any, Any, None]]
"""Changes the tunnels of a running agent until it is cancelled."""


async def run(
    settings: AgentSettings,
    *,
    on_event: EventSink,
    stop: asyncio.Event | None = None,
    watch: Callable[[Callable[[], dict[int, tuple[int, int]]]], None] | None = None,
    change_tunnels: ChangeTunnels | None = None,
) -> int:
    """Publish the tunnels until `stop` is set or this is cancelled, and return the exit code: 0, or 3 when refused.

    A lost server is dialled again without limit. Every step is emitted to `on_event`, which must not block. When stopped, visitors
    may finish within `AgentSettings.drain_s`; then the session is closed within a second. `watch` gets a function that returns
    the bytes of running connections. `change_tunnels` runs beside the sessions, and may change the tunnels meanwhile.

    Raises:
        ConfigError: the settings cannot work, or the data directory cannot be used.
        UnavailableError: it was not online within `AgentSettings.connect_s_max`.
    """
    reactor = Reactor(asyncio.get_running_loop())
    try:
        identity = find_identity(settings.data_dir, settings.join, secrets.token_bytes)
        claims = Claims([claim_for(tunnel, identity) for tunnel in settings.tunnels])
        inspection = _inspection_of(reactor, settings, on_event)
        contact = FirstContact(settings, on_event if inspection is None else inspection.on_event)
        origins = Origins(reactor, claims, contact)
        terminator = origins.terminator = Terminator(reactor, claims, origins.accept_local, contact, settings.data_dir)
        if watch is not None:
            watch(origins.moved)
        context = SessionContext(
            reactor=reactor,
            settings=settings,
            tls=tls_of(settings),
            identity=identity,
            claims=claims,
            origins=origins,
            on_event=contact,
            host_check=HostCheck(rewritten=any(tunnel.rewrite is not None for tunnel in settings.tunnels)),
            random_bytes=secrets.token_bytes,
        )
        if inspection is not None:
            inspection.start(origins)
        try:
            return await _run_until_stopped(context, origins, terminator, contact, stop or asyncio.Event(), change_tunnels)
        finally:
            terminator.close()
            origins.terminator = None  # each refers to the other
            if inspection is not None:
                await inspection.close()
            await asyncio.to_thread(origins.static.close)
    finally:
        reactor.close()


def _inspection_of(reactor: Reactor, settings: AgentSettings, on_event: EventSink) -> "Inspection | None":
    """Start the inspector, if there is to be one. Imported only then: its web server needs 10 MB, and a tenth of a second."""
    if settings.inspector is None:
        return None
    from portway.agent.inspection import Inspection  # noqa: PLC0415

    return Inspection(reactor, settings, settings.inspector, on_event)


async def _check_origins(context: SessionContext, origins: Origins, tunnels: Iterable[TunnelRequest]) -> None:
    """Start the static origins, and emit a notice for each local service that does not listen yet."""
    for tunnel in tunnels:
        if tunnel.target.is_static:
            await asyncio.to_thread(origins.static.target_of, tunnel)
        elif await asyncio.to_thread(is_listening, tunnel.target) is False:
            outcome = "get 502" if tunnel.kind == "http" else "are disconnected"
            context.on_event(Notice(f"nothing listens at {tunnel.target.text} yet; visitors {outcome} until something does"))


class _Background:
    """What runs beside the sessions of an agent, until it stops."""

    def __init__(self, tasks: asyncio.TaskGroup, context: SessionContext, origins: Origins, terminator: Terminator) -> None:
        self._tasks = tasks
        self._context = context
        self._origins = origins
        self._terminator = terminator
        self._running: set[asyncio.Task[None]] = set()
        terminator.spawn = self.start

    def start(self, work: Coroutine[Any, Any, None], name: str) -> None:
        """Run `work` until it ends, or the agent stops."""
        task = self._tasks.create_task(work, name=name)
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    def begin(self, change_tunnels: ChangeTunnels | None, session: Callable[[], AgentSession | None]) -> None:
        """Prepare the tunnels of the settings, and start what changes them; raises ConfigError."""
        context = self._context
        for tunnel in context.settings.tunnels:
            self._terminator.prepare(tunnel)
        self.start(_check_origins(context, self._origins, context.settings.tunnels), "check origins")

        def apply(changes: TunnelChanges) -> None:
            new = (*changes.added, *changes.changed)
            for tunnel in new:
                _prepare(self._terminator, tunnel, context)
            current = session()
            if current is not None:
                current.send_changes()
            self.start(_check_origins(context, self._origins, new), "check origins")

        if change_tunnels is not None:
            self.start(change_tunnels(TunnelSet(context.claims, context.identity, context.on_event, apply)), "change tunnels")

    def stop(self) -> None:
        """Cancel everything, and close what only waits for requests."""
        for task in self._running:
            task.cancel()
        self._terminator.close_idle()


async def _run_until_stopped(
    context: SessionContext,
    origins: Origins,
    terminator: Terminator,
    contact: FirstContact,
    stopping: asyncio.Event,
    change_tunnels: ChangeTunnels | None,
) -> int:
    """Run sessions until `stopping` is set, the server refuses, or `connect_s_max` has passed without a login."""
    async with asyncio.TaskGroup() as tasks:
        current: list[AgentSession] = []
        background = _Background(tasks, context, origins, terminator)
        background.begin(change_tunnels, lambda: current[0] if current else None)
        sessions = tasks.create_task(_keep_session(context, contact, current), name="sessions")
        stop_requested = tasks.create_task(stopping.wait(), name="stop requested")
        watching = tasks.create_task(contact.watch(), name="watch for the first login")
        waiting: set[asyncio.Task[Any]] = {sessions, stop_requested, watching}
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            if watching.done() and watching.result() is None:  # online
                await asyncio.wait(waiting - {watching}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            background.stop()
            watching.cancel()
            if not sessions.done() and current:
                await drain(current[0], context)
            sessions.cancel()
            stop_requested.cancel()
    failure = None if watching.cancelled() else watching.result()
    if failure is not None:
        raise failure
    if sessions.cancelled():
        return 0
    refused = sessions.result()
    context.on_event(Refused(refused.code, refused.reason, refused.next_step))
    return RefusedError.exit_code


def _prepare(terminator: Terminator, tunnel: TunnelRequest, context: SessionContext) -> None:
    """Read the certificates of a tunnel that was added to a running agent; an error is a notice."""
    try:
        terminator.prepare(tunnel)
    except ConfigError as exc:
        context.on_event(Notice(f"{tunnel.label}: {exc}"))


async def _keep_session(context: SessionContext, contact: FirstContact, current: list[AgentSession]) -> RefusedError:
    """Keep a session with the server, and the session in `current`; return only when the server refuses permanently."""
    address = address_of(context.settings.join)
    proxy = str(context.settings.proxy.url) if context.settings.proxy is not None else ""
    retrying = Retrying(random.random)
    while True:
        context.on_event(Connecting(address, proxy))
        session, refusal = AgentSession(context), ""
        current[:] = [session]
        try:
            await session.run()
        except RefusedError as refused:
            if retrying.is_final(refused.code, logged_in_s=session.logged_in_s, had_tunnels=context.claims.any_was_granted):
                return refused
            reason, refusal = str(refused), refused.code
        except (UnavailableError, PeerError) as error:
            reason = str(error)
            contact.record_failure(error)
        else:
            reason = "the session ended"
        delay_s = retrying.delay_s(logged_in_s=session.logged_in_s, refusal=refusal)
        context.on_event(Offline(reason, delay_s))
        await asyncio.sleep(delay_s)


def tls_of(settings: AgentSettings) -> AgentTls | None:
    """Return how to verify the server, None for plain links, which join string and settings must agree on.

    Raises:
        ConfigError: they do not agree.
    """
    join = settings.join
    if join.plaintext and not settings.plaintext_links:
        raise ConfigError(
            "this server uses links without TLS; add --plaintext-links if the network is private, otherwise ask the operator to enable TLS"
        )
    if settings.plaintext_links:
        if not join.plaintext:
            raise ConfigError("--plaintext-links: the join string is for a server that uses TLS; remove the option")
        return None
    return agent_tls(join.host, join.pin, str(settings.ca_file) if settings.ca_file else None)
