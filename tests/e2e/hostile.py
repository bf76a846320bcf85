"""Attackers between or behind honest programs: a recording man in the middle, and a malicious server."""

import asyncio
import secrets
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any, Self, TypeVar

from portway.engine.channel import Channel
from portway.engine.reactor import Reactor
from portway.links.accept import LinkListener
from portway.links.tls import ALPN, server_context
from portway.mux.mux import Mux
from portway.mux.mux_channel import MuxChannel
from portway.protocol.control.messages import Claim, Granted, Limits, Message, Welcome
from portway.protocol.join_string import JoinString
from portway.protocol.scram import certificate_binding, make_verifier
from portway.protocol.stream_status import StreamStatus
from portway.session.control_stream import ControlStream
from portway.session.login import Authenticated, authenticate
from portway.session.stream_handshake import open_visitor_stream
from tests.kit.certificates import Identity
from tests.kit.raw_agent import RawAgent, raw_agent, raw_reactor
from tests.kit.sockets import tcp_listener
from tests.kit.verifiers import any_token

M = TypeVar("M")
DEADLINE_S = 15.0
SECRET = "h" * 43
"""Of the token that agents of a hostile server have."""


class Tap:
    """Carries between agents and a server, and keeps every byte that it can read. Runs in a thread."""

    def __init__(self, target: tuple[str, int], *, shows: ssl.SSLContext | None = None, port: int = 0) -> None:
        """Carry as it is; with `shows`, decrypt with that certificate, read, and encrypt anew towards `target`."""
        self.up = bytearray()
        """What agents sent."""
        self.down = bytearray()
        """What the server sent."""
        self.links = 0
        """Connections that came as far as being carried: behind the TLS handshake, where there is one."""
        self._target = target
        self._shows = shows
        self._listener = socket.create_server(("127.0.0.1", port))
        self.port: int = self._listener.getsockname()[1]
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="tap", daemon=True)
        self._thread.start()
        self._ready.wait(5)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.set_exception_handler(lambda loop, context: None)  # handshakes that agents break off on purpose
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._loop.close()

    async def _serve(self) -> None:
        self._over = asyncio.Event()
        server = await asyncio.start_server(self._connected, sock=self._listener, ssl=self._shows)
        self._ready.set()
        await self._over.wait()
        server.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.links += 1
        far_reader, far_writer = await asyncio.open_connection(*self._target, ssl=_trusting() if self._shows else None)
        try:
            async with asyncio.TaskGroup() as ways:
                ways.create_task(_carry(reader, far_writer, self.up))
                ways.create_task(_carry(far_reader, writer, self.down))
        except* OSError:
            pass
        finally:
            for end in (writer, far_writer):
                end.transport.abort()

    def close(self) -> None:
        """End the thread and all connections."""
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(5)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, copy: bytearray) -> None:
    while data := await reader.read(65536):
        copy += data
        writer.write(data)
        await writer.drain()
    writer.close()


def _trusting() -> ssl.SSLContext:
    """Return an agent's context that accepts any server."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols([ALPN])
    return context


class HostileLink:
    """One link of a real agent, which a test answers."""

    def __init__(self, reactor: Reactor, channel: Channel, binding: bytes | None) -> None:
        """Take it over; the agent's control stream will come."""
        self.reactor = reactor
        self.lost = ""
        self._binding = binding
        self._control: asyncio.Future[ControlStream] = asyncio.get_running_loop().create_future()
        self.mux = Mux(reactor, channel, client=True, on_stream=self._on_stream, on_lost=self._on_lost)

    def _on_stream(self, stream: MuxChannel) -> None:
        self._control.set_result(ControlStream(stream, self.reactor))

    def _on_lost(self, reason: str) -> None:
        self.lost = reason

    async def hear(self, kind: type[M]) -> M:
        """Return the agent's next message, which must be of the kind."""
        async with asyncio.timeout(DEADLINE_S):
            message = await (await self._control).receive()
        assert isinstance(message, kind), message
        return message

    async def say(self, message: Message) -> None:
        """Send a message to the agent."""
        (await self._control).send(message)

    async def authenticate(self) -> None:
        """Let the agent in, properly."""
        admitted = await authenticate(
            await self._control,
            find_verifier=any_token(make_verifier(SECRET, b"s" * 16)),
            decoy_seed=b"d" * 32,
            binding=self._binding,
            random_bytes=secrets.token_bytes,
        )
        assert isinstance(admitted, Authenticated)
        await self.say(welcome(admitted.scram))

    async def grant(self, tunnel: int) -> None:
        """Answer the agent's claim."""
        claim = await self.hear(Claim)
        await self.say(Granted(id=claim.id, tunnel=tunnel, epoch=tunnel, url=f"http://{claim.name}.localhost", name=claim.name))

    async def visit(self, preamble: bytes, data: bytes = b"") -> tuple[StreamStatus | None, bytes]:
        """Open a stream with a preamble, and return the agent's status (None: broken) and what came up to 100 bytes."""
        told: asyncio.Future[StreamStatus | None] = asyncio.get_running_loop().create_future()
        channel = open_visitor_stream(self.reactor, self.mux, preamble, told.set_result)
        if data:
            channel.send(data)
        async with asyncio.timeout(DEADLINE_S):
            status = await told
            got = b"" if status is not StreamStatus.CONNECTED else await self._read(channel, len(data))
        channel.abort()
        return status, got

    async def _read(self, channel: Channel, count: int) -> bytes:
        news = asyncio.Event()
        channel.on_readable = channel.on_broken = news.set
        got, buffer = b"", memoryview(bytearray(1000))
        while len(got) < count:
            size = channel.recv_into(buffer)
            if size == 0:
                break
            if size > 0:
                got += bytes(buffer[:size])
            else:
                news.clear()
                await news.wait()
        return got


def welcome(scram: str) -> Welcome:
    """Return a server's reply to an admitted agent."""
    return Welcome(scram=scram, session="5e55", server="9.9.9", region="", grace_s=60.0, limits=Limits(links=1, tunnels=9))


class HostileServer:
    """A server in the hands of a test, on the running loop."""

    def __init__(self, identity: Identity, reactor: Reactor) -> None:
        """Listen at once, over TLS."""
        self._reactor = reactor
        self._links: asyncio.Queue[HostileLink] = asyncio.Queue()
        self._all: list[HostileLink] = []
        self._binding = certificate_binding(identity.der)
        sock = tcp_listener()
        sock.setblocking(False)
        self.join = JoinString("hostile", SECRET, "127.0.0.1", sock.getsockname()[1], bytes.fromhex(identity.pin))
        self._listener = LinkListener(reactor, sock, server_context(str(identity.cert_file), str(identity.key_file)), self._on_link)

    def _on_link(self, channel: Channel, _address: tuple[str, int]) -> None:
        link = HostileLink(self._reactor, channel, self._binding)
        self._all.append(link)
        self._links.put_nowait(link)

    async def link(self) -> HostileLink:
        """Return the next link that an agent dials."""
        async with asyncio.timeout(DEADLINE_S):
            return await self._links.get()

    def close(self) -> None:
        """Break all links."""
        self._listener.close()
        for link in self._all:
            link.mux.abort("the test is over")


@asynccontextmanager
async def hostile_server(identity: Identity) -> AsyncIterator[HostileServer]:
    """A hostile server that shows a certificate."""
    reactor = Reactor(asyncio.get_running_loop())
    server = HostileServer(identity, reactor)
    try:
        yield server
    finally:
        server.close()
        with suppress(Exception):
            await asyncio.sleep(0)
        reactor.close()


def on_a_reactor(scene: Callable[[Callable[[JoinString], Coroutine[Any, Any, RawAgent]]], Coroutine[Any, Any, None]]) -> None:
    """Run a scene that gets a function to dial with."""

    async def whole() -> None:
        async with raw_reactor() as reactor:
            await scene(lambda join: raw_agent(reactor, join))

    asyncio.run(whole())
