"""The agent put together: identity, claims and origins, and one session after the other until it is told to stop."""

import asyncio
import hmac
import random
import secrets
from collections.abc import Callable
from typing import Any

from portway.agent.context import SessionContext
from portway.agent.diagnosis import address_of
from portway.agent.draining import drain
from portway.agent.events import AgentEvent, Connecting, Notice, Offline, Refused
from portway.agent.first_contact import FirstContact
from portway.agent.host_check import HostCheck
from portway.agent.identity import find_identity
from portway.agent.limits import split_policy
from portway.agent.listening import is_listening
from portway.agent.origins import Origins
from portway.agent.retrying import Retrying
from portway.agent.session import AgentSession
from portway.agent.settings import AgentSettings, TunnelRequest
from portway.engine.reactor import Reactor
from portway.errors import ConfigError, PeerError, RefusedError, UnavailableError
from portway.links.tls import AgentTls, agent_tls
from portway.session.claims import Claims, TunnelClaim

Tell = Callable[[AgentEvent], None]


async def run(
    settings: AgentSettings,
    *,
    on_event: Tell,
    stop: asyncio.Event | None = None,
    watch: Callable[[Callable[[], dict[int, tuple[int, int]]]], None] | None = None,
) -> int:
    """Offer the tunnels until `stop` is set or this is cancelled, and return the exit code: 0, or 3 when refused.

    A lost server is dialled again, for ever; every step is told to `on_event`, which must not block. Visitors may finish, for
    `AgentSettings.drain_s` at most; then the server is told good-bye, within a second. `watch` gets a function that returns the
    bytes of running connections.

    Raises:
        ConfigError: the settings cannot work, or the data directory cannot be used.
        UnavailableError: it was not online within `AgentSettings.connect_s_max`.
    """
    reactor = Reactor(asyncio.get_running_loop())
    try:
        identity = find_identity(settings.data_dir, settings.join, secrets.token_bytes)
        claims = Claims([_wish(tunnel, identity) for tunnel in settings.tunnels])
        contact = FirstContact(settings, on_event)
        origins = Origins(reactor, claims, contact)
        if watch is not None:
            watch(origins.moved)
        needs = SessionContext(
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
        return await _until_stopped(needs, contact, stop or asyncio.Event())
    finally:
        reactor.close()


async def _look_for_services(needs: SessionContext) -> None:
    """Tell the user of local services that do not listen yet."""
    for tunnel in needs.settings.tunnels:
        if await asyncio.to_thread(is_listening, tunnel.target) is False:
            outcome = "get 502" if tunnel.kind == "http" else "are disconnected"
            needs.on_event(Notice(f"nothing listens at {tunnel.target.text} yet; visitors {outcome} until something does"))


async def _until_stopped(needs: SessionContext, contact: FirstContact, stopping: asyncio.Event) -> int:
    """Run sessions until `stopping` is set, the server refuses, or it is not there in time."""
    async with asyncio.TaskGroup() as tasks:
        current: list[AgentSession] = []
        sessions = tasks.create_task(_session_after_session(needs, contact, current), name="sessions")
        asked = tasks.create_task(stopping.wait(), name="asked to stop")
        looking = tasks.create_task(_look_for_services(needs), name="look for local services")
        watching = tasks.create_task(contact.watch(), name="is it online at all")
        waiting: set[asyncio.Task[Any]] = {sessions, asked, watching}
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            if watching.done() and watching.result() is None:  # online
                await asyncio.wait(waiting - {watching}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            looking.cancel()
            watching.cancel()
            if not sessions.done() and current:
                await drain(current[0], needs)
            sessions.cancel()
            asked.cancel()
    given_up = None if watching.cancelled() else watching.result()
    if given_up is not None:
        raise given_up
    if sessions.cancelled():
        return 0
    refused = sessions.result()
    needs.on_event(Refused(refused.code, refused.reason, refused.next_step))
    return RefusedError.exit_code


async def _session_after_session(needs: SessionContext, contact: FirstContact, current: list[AgentSession]) -> RefusedError:
    """Keep a session with the server, which is in `current`; return only when it refuses."""
    address = address_of(needs.settings.join)
    retrying = Retrying(random.random)
    while True:
        needs.on_event(Connecting(address))
        session, refusal = AgentSession(needs), ""
        current[:] = [session]
        try:
            await session.run()
        except RefusedError as refused:
            if retrying.is_final(refused.code, lived_s=session.lived_s, had_tunnels=needs.claims.any_was_granted):
                return refused
            reason, refusal = str(refused), refused.code
        except (UnavailableError, PeerError) as gone:
            reason = str(gone)
            contact.failed(gone)
        else:
            reason = "the session ended"
        delay_s = retrying.delay_s(lived_s=session.lived_s, refusal=refusal)
        needs.on_event(Offline(reason, delay_s))
        await asyncio.sleep(delay_s)


def tls_of(settings: AgentSettings) -> AgentTls | None:
    """Return how to verify the server, None for plain links; both ends must have said it when links are plain.

    Raises:
        ConfigError: only one of them has.
    """
    join = settings.join
    if join.plaintext and not settings.plaintext_links:
        raise ConfigError(
            "this server's links are not encrypted; if its network is private, say so too with --plaintext-links, "
            "else ask its operator to encrypt them"
        )
    if settings.plaintext_links:
        if not join.plaintext:
            raise ConfigError("--plaintext-links: this join string is for a server with encrypted links; leave the flag away")
        return None
    return agent_tls(join.host, join.pin, str(settings.ca_file) if settings.ca_file else None)


def _wish(tunnel: TunnelRequest, identity: bytes) -> TunnelClaim[TunnelRequest]:
    limits = split_policy(tunnel)[1]
    any_will_do = not (tunnel.name or tunnel.host or tunnel.port)
    # So that a name that the server chooses stays with this agent and this target, and nobody else can work it out.
    seed = hmac.digest(identity, f"portway address {tunnel.kind} {tunnel.target.text}".encode(), "sha256") if any_will_do else b""
    return TunnelClaim(
        tunnel.kind,
        tunnel,
        name=tunnel.name,
        host=tunnel.host,
        port=tunnel.port,
        takeover=tunnel.takeover,
        seed=seed,
        limits=limits,
        rewrite=tunnel.rewrite,
    )
