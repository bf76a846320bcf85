"""Contacts the server of a join string once, to say whether an agent could go online with it."""

import asyncio
import secrets
import socket
from typing import Literal

from portway.agent.app import tls_of
from portway.agent.connect import AgentSession
from portway.agent.events import AgentEvent, Online
from portway.agent.needs import SessionNeeds
from portway.agent.settings import AgentSettings
from portway.engine.channel import Channel
from portway.engine.reactor import Reactor
from portway.errors import ConfigError, PeerError, PortwayError, UnavailableError
from portway.links.tls import WrongServerError
from portway.session.claims import Claims

HTTP_S_MAX = 3.0
"""How long somebody may take to answer an HTTP request who answers otherwise than an agents' port does."""

HEAD_BYTES_MAX = 4096
READS_MAX = 4
"""Of that answer; our own error pages name themselves within the first 500 bytes."""

Http = Literal["", "http", "portway"]
"""Who answers HTTP requests: nobody, some server, the listener for visitors of a Portway server."""


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
        join = settings.join
        where = f"[{join.host}]:{join.port}" if ":" in join.host else f"{join.host}:{join.port}"
        http = await asyncio.to_thread(_answers_http, join.host, join.port)
        if http == "portway":
            raise ConfigError(
                f"{where} is where this Portway server takes HTTP visitors; agents dial another port, usually 4443: the server says which "
                "when it starts (“they dial”), and its operator can set --advertise"
            ) from exc
        if http or isinstance(exc, WrongServerError | PeerError):
            what = "a web server" if http else f"no Portway server, or one with links of another kind: {exc}"
            raise ConfigError(f"{where}: who answers there is {what}; check host and port of the join string") from exc
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

    needs = SessionNeeds(
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


def _answers_http(host: str, port: int) -> Http:
    """Ask as a visitor would; blocks."""
    head = b""
    try:
        with socket.create_connection((host, port), HTTP_S_MAX) as visitor:
            visitor.sendall(b"GET / HTTP/1.1\r\nHost: portway.invalid\r\nConnection: close\r\n\r\n")
            for _ in range(READS_MAX):
                if not (piece := visitor.recv(HEAD_BYTES_MAX)):
                    break
                head += piece
    except (OSError, UnicodeError):  # the latter from a label that is empty or too long
        pass
    if not head.startswith(b"HTTP/1."):
        return ""
    return "portway" if b"\r\nportway-error:" in head.lower() else "http"


class _NoOrigins:
    """Where the server's streams go while nothing is exported (see `agent.needs.TakesStreams`)."""

    def accept(self, channel: Channel) -> None:
        """Refuse it."""
        channel.abort()

    def claims_answered(self) -> None:
        """There are none."""
