"""Logs in to the server of a join string once, to check that an agent could go online with it."""

import asyncio
import secrets

from portway.agent.app import tls_of
from portway.agent.context import SessionContext
from portway.agent.diagnosis import describe_wrong_server
from portway.agent.events import AgentEvent, Online
from portway.agent.session import AgentSession
from portway.agent.settings import AgentSettings
from portway.engine.channel import Channel
from portway.engine.reactor import Reactor
from portway.errors import ConfigError, PeerError, PortwayError, UnavailableError
from portway.session.claims import Claims


async def try_login(settings: AgentSettings) -> Online:
    """Log in without any tunnel, close the session, and return its `Online` event. Takes at most 20 s.

    Raises:
        RefusedError: the server refuses the token, or cannot be verified.
        ConfigError: the peer is not the agents' port of a Portway server.
        UnavailableError: no peer answers, or it asks to retry later.
    """
    reactor = Reactor(asyncio.get_running_loop())
    try:
        return await _log_in(reactor, settings)
    except (UnavailableError, PeerError) as exc:
        wrong = await describe_wrong_server(settings.join, exc, by_proxy=settings.proxy is not None)
        if wrong:
            raise ConfigError(wrong) from exc
        raise
    finally:
        reactor.close()


async def _log_in(reactor: Reactor, settings: AgentSettings) -> Online:
    online: list[Online] = []
    logged_in = asyncio.Event()

    def on_event(event: AgentEvent) -> None:
        if isinstance(event, Online):
            online.append(event)
            logged_in.set()

    context = SessionContext(
        reactor=reactor,
        settings=settings,
        tls=tls_of(settings),
        identity=secrets.token_bytes(32),  # a throw-away identity: nothing is claimed or saved
        claims=Claims([]),
        origins=_NoOrigins(),
        on_event=on_event,
        random_bytes=secrets.token_bytes,
    )
    async with asyncio.TaskGroup() as tasks:
        session = tasks.create_task(_hold(AgentSession(context)), name="session")
        done = tasks.create_task(logged_in.wait(), name="login")
        await asyncio.wait({session, done}, return_when=asyncio.FIRST_COMPLETED)
        session.cancel()  # it closes gracefully
        done.cancel()
    if online:
        return online[0]
    raise session.result()


async def _hold(session: AgentSession) -> PortwayError:
    """Run a session, and return why it ended."""
    try:
        await session.run()
    except PortwayError as error:
        return error
    return UnavailableError("the session ended")


class _NoOrigins:
    """Refuses all streams, because nothing is exported (see `agent.context.StreamAcceptor`)."""

    def accept(self, channel: Channel) -> None:
        """Reset a stream."""
        channel.abort()

    def on_claim_reply(self) -> None:
        """Do nothing: there are no claims."""
