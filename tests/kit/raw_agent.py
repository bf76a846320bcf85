"""An agent controlled by a test: real links and messages, but no automatic reactions."""

import asyncio
import secrets
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeVar

from portway.engine.channel import BLOCKED, Channel
from portway.engine.reactor import Reactor
from portway.engine.socket_channel import SocketChannel
from portway.engine.tls_channel import TlsChannel
from portway.errors import UnavailableError
from portway.links.dial import _encrypt, dial
from portway.links.tls import AgentTls, agent_tls
from portway.mux.mux import Mux
from portway.mux.mux_channel import MuxChannel
from portway.protocol.control.messages import Claim, Granted, Message, Welcome
from portway.protocol.join_string import JoinString
from portway.protocol.proxy_header import ProxyHeader
from portway.protocol.scram import certificate_binding
from portway.session.control_stream import ControlStream
from portway.session.login import Credentials, Login, attach, log_in
from portway.session.stream_handshake import PreambleReader

M = TypeVar("M")
DEADLINE_S = 5.0


class RawAgent:
    """One link to a server, with its streams and messages."""

    def __init__(self, reactor: Reactor, link: Channel) -> None:
        """Take over the link and open the control stream."""
        self.reactor = reactor
        self.link = link
        self.lost = ""
        self.streams: list[MuxChannel] = []
        self.visits: list[tuple[ProxyHeader, Channel]] = []
        self.mux = Mux(reactor, link, client=False, on_stream=self._accept, on_lost=self._on_lost)
        self.control = ControlStream(self.mux.open(), reactor)
        self.login: Login | None = None

    @property
    def binding(self) -> bytes | None:
        """Channel binding of a login on this link."""
        if not isinstance(self.link, TlsChannel):
            return None
        certificate = self.link.peer_certificate_der()
        assert certificate is not None
        return certificate_binding(certificate)

    async def log_in(self, join: JoinString, identity: bytes = b"i" * 32) -> Login:
        """Log in as an agent would."""
        credentials = Credentials(join.token_id, join.secret, identity, "raw/1")
        self.login = await log_in(self.control, credentials, binding=self.binding, random_bytes=secrets.token_bytes)
        return self.login

    async def attach(self, ticket: bytes, key: bytes, hint: str = "") -> Welcome:
        """Attach to a session with a ticket."""
        return await attach(self.control, ticket, key, hint)

    async def request(self, message: Message, reply: type[M]) -> M:
        """Send a request and return its reply, which must be of type `reply`."""
        self.control.send(message)
        received = await self.receive()
        assert isinstance(received, reply), received
        return received

    async def claim(self, number: int, name: str, *, takeover: bool = False) -> Granted:
        """Claim a name and return the grant."""
        return await self.request(Claim(id=number, kind="http", name=name, takeover=takeover), Granted)

    async def receive(self, deadline_s: float = DEADLINE_S) -> Message:
        """Return the server's next message."""
        return await self.control.receive(deadline_s)

    async def until_lost(self, deadline_s: float = DEADLINE_S) -> str:
        """Wait until the link is lost and return the reason."""
        async with asyncio.timeout(deadline_s):
            while not self.lost:
                try:
                    await self.control.receive(0.02)
                except UnavailableError:
                    await asyncio.sleep(0.01)
        return self.lost

    def go_silent(self) -> None:
        """Stop sending and reading, without closing the link."""
        self.mux.ping = lambda on_pong: None  # type: ignore[method-assign]
        self.link.on_readable = self.link.on_writable = self.link.on_broken = lambda: None
        self.mux._heartbeat.next_ping = lambda now: None  # type: ignore[method-assign]

    def _accept(self, channel: MuxChannel) -> None:
        self.streams.append(channel)
        PreambleReader(self.reactor, channel, lambda header, found: self.visits.append((header, found)), lambda why: None)

    def _on_lost(self, reason: str) -> None:
        self.lost = reason


class RawReactor(Reactor):
    """A reactor that closes its agents in the end."""

    def __init__(self) -> None:
        """Nest in the running loop."""
        super().__init__(asyncio.get_running_loop())
        self.agents: list[RawAgent] = []


@asynccontextmanager
async def raw_reactor() -> AsyncIterator[RawReactor]:
    """A reactor on the running loop."""
    reactor = RawReactor()
    try:
        yield reactor
    finally:
        for agent in reactor.agents:
            agent.mux.abort()
            agent.link.abort()
        reactor.close()


async def raw_agent(reactor: RawReactor, join: JoinString, hint: str = "", *, source: str = "") -> RawAgent:
    """Dial the server of a join string, from the address `source` if given; `hint` is sent in the ClientHello."""
    tls = None if join.plaintext else agent_tls(join.host, join.pin)
    dialled = _dial_from(reactor, source, join, tls, hint) if source else dial(reactor, join.host, join.port, tls, hint=hint)
    agent = RawAgent(reactor, await dialled)
    reactor.agents.append(agent)
    return agent


async def _dial_from(reactor: RawReactor, source: str, join: JoinString, tls: AgentTls | None, hint: str) -> Channel:
    """Dial from another address of this machine."""
    sock = socket.create_connection((join.host, join.port), DEADLINE_S, (source, 0))
    sock.setblocking(False)
    return SocketChannel(reactor, sock) if tls is None else await _encrypt(reactor, sock, tls, hint)


def read_now(channel: Channel) -> bytes:
    """Return all bytes that can be read now."""
    buffer, got = memoryview(bytearray(65536)), b""
    while (count := channel.recv_into(buffer)) not in (0, BLOCKED):
        got += bytes(buffer[:count])
    return got
