"""Contacts the server of a join string once, to say whether an agent could go online with it."""

import asyncio
import secrets

from portway.agent.app import tls_of
from portway.agent.context import SessionContext
from portway.agent.diagnosis import wrong_server
from portway.agent.events import AgentEvent, Online
from portway.agent.session import AgentSession
from portway.agent.settings import AgentSettings
from portway.engine.channel import Channel
from portway.engine.reactor import Reactor
from portway.errors import ConfigError, PeerError, PortwayError, UnavailableError
from portway.session.claims import Claims


async def contact(settings: AgentSettings) -> Online:
    """Log in without any tunnel, leave again, and return what the server said of itself. Takes 20 s at most.

    Raises:
        RefusedError: the server, its certificate or the token is not the right one.
        ConfigError: who answers there is no agents' port of a Portway server.
        UnavailableError: nobody answers, or he says to come back later.
    """
    reactor = Reactor(asyncio.get_running_loop())
    try:
        return await _log_in(reactor, settings)
    except (UnavailableError, PeerError) as exc:
        wrong = await wrong_server(settings.join, exc)
        if wrong:
            raise ConfigError(wrong) from exc
        raise
    finally:
        reactor.close()


async def _log_in(reactor: Reactor, settings: AgentSettings) -> Online:
    online: list[Online] = []
    logged_in = asyncio.Event()

    def hear(event: AgentEvent) -> None:
        if isinstance(event, Online):
            online.append(event)
            logged_in.set()

    needs = SessionContext(
        reactor=reactor,
        settings=settings,
        tls=tls_of(settings),
        identity=secrets.token_bytes(32),  # nobody's: it claims nothing, and nothing is kept yet
        claims=Claims([]),
        origins=_NoOrigins(),
        on_event=hear,
        random_bytes=secrets.token_bytes,
    )
    async with asyncio.TaskGroup() as tasks:
        session = tasks.create_task(_hold(AgentSession(needs)), name="session")
        heard = tasks.create_task(logged_in.wait(), name="login")
        await asyncio.wait({session, heard}, return_when=asyncio.FIRST_COMPLETED)
        session.cancel()  # it says good-bye
        heard.cancel()
    if online:
        return online[0]
    raise session.result()


async def _hold(session: AgentSession) -> PortwayError:
    """Return why a session is over."""
    try:
        await session.run()
    except PortwayError as error:
        return error
    return UnavailableError("the session ended")


class _NoOrigins:
    """Where the server's streams go while nothing is exported (see `agent.context.StreamAcceptor`)."""

    def accept(self, channel: Channel) -> None:
        """Refuse it."""
        channel.abort()

    def claims_answered(self) -> None:
        """There are none."""
