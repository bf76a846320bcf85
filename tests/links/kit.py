"""A listener for links in a test's loop, and unauthenticated peers with plain sockets."""

import asyncio
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from portway.engine.channel import Channel
from portway.engine.listener import Address, listen
from portway.errors import BrokenChannel
from portway.links.accept import DEFAULT_LIMITS, HandshakeLimits, LinkListener
from portway.links.dial import dial
from portway.links.sources import Sources
from portway.links.tls import AgentTls, agent_tls, server_context
from tests.kit.certificates import Identity
from tests.kit.loops import EngineLoop
from tests.kit.sockets import DEADLINE_S

REQUEST = b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n"


def context_of(identity: Identity) -> ssl.SSLContext:
    """Return the context of a listener with this identity."""
    return server_context(str(identity.cert_file), str(identity.key_file))


def pinned(identity: Identity) -> AgentTls:
    """Return an agent's TLS settings for a server with this pin."""
    return agent_tls("127.0.0.1", bytes.fromhex(identity.pin))


class RecordingListener:
    """A LinkListener on a free port, and its results."""

    def __init__(
        self, engine: EngineLoop, context: ssl.SSLContext | None, limits: HandshakeLimits = DEFAULT_LIMITS, *, host: str = "127.0.0.1"
    ) -> None:
        """Listen at once."""
        self.engine = engine
        self.links: list[Channel] = []
        self.peers: list[Address] = []
        self.failures: list[str] = []
        self.failed_peers: list[Address] = []
        self.clients: list[socket.socket] = []
        self.sources = Sources()
        self.listener = LinkListener(
            engine.reactor, listen(host, 0), context, self._on_link, self._on_failure, limits=limits, sources=self.sources
        )

    @property
    def port(self) -> int:
        """Where agents dial."""
        return self.listener.address[1]

    def _on_link(self, link: Channel, address: Address) -> None:
        self.links.append(link)
        self.peers.append(address)

    def _on_failure(self, address: Address, failure: str) -> None:
        self.failures.append(failure)
        self.failed_peers.append(address)

    def dial(self, tls: AgentTls | None, timeout_s: float = 5.0) -> Channel:
        """Return an agent's end of a new link, once the listener has its own end too."""
        before = len(self.links)
        link = self.engine.run(dial(self.engine.reactor, "127.0.0.1", self.port, tls, timeout_s))
        self.engine.run_until(lambda: len(self.links) > before, what="the link's arrival at the door")
        return link

    def connect_raw(self, first: bytes = b"", source: str = "127.0.0.1") -> socket.socket:
        """Return a plain connection that has sent `first` and was accepted."""
        client = socket.create_connection(self.listener.address, DEADLINE_S, source_address=(source, 0))
        self.clients.append(client)
        client.sendall(first)
        self.engine.settle()
        return client

    def failure(self, count: int = 1, deadline_s: float = 5.0) -> str:
        """Return why handshake number `count` failed, once it did."""
        self.engine.run_until(lambda: len(self.failures) >= count, deadline_s, what="a failed handshake")
        return self.failures[count - 1]

    def close(self) -> None:
        """Close everything."""
        self.listener.close()
        for link in self.links:
            link.abort()
        for client in self.clients:
            client.close()
        self.engine.settle()


@contextmanager
def open_listener(
    engine: EngineLoop, context: ssl.SSLContext | None, limits: HandshakeLimits = DEFAULT_LIMITS, *, host: str = "127.0.0.1"
) -> Iterator[RecordingListener]:
    """Keep a listener open within the block."""
    listener = RecordingListener(engine, context, limits, host=host)
    try:
        yield listener
    finally:
        listener.close()


def delivers(engine: EngineLoop, sender: Channel, receiver: Channel, data: bytes) -> bool:
    """Return whether `data` sent at one end is what arrives at the other."""
    got = bytearray()
    buffer = memoryview(bytearray(65536))

    def arrived() -> bool:
        while receiver.readable and (count := receiver.recv_into(buffer)) > 0:
            got.extend(buffer[:count])
        return len(got) >= len(data)

    sender.send(data)
    engine.run_until(arrived)
    return bytes(got) == data


def broke(engine: EngineLoop, link: Channel) -> str:
    """Return how a link broke, once it did; a proper end is not a break."""
    buffer = memoryview(bytearray(65536))
    reasons: list[str] = []

    def broken() -> bool:
        try:
            count = link.recv_into(buffer)
        except BrokenChannel as exc:
            reasons.append(str(exc))
        else:
            assert count < 0, f"received {count} bytes, expected a break"
        return bool(reasons)

    engine.run_until(broken, what="the link's break")
    return reasons[0]


def read_until_end(client: socket.socket) -> bytes | None:
    """Return what a client receives until the end, or None when it is reset."""
    heard = bytearray()
    with suppress(ConnectionResetError):
        while piece := client.recv(65536):
            heard += piece
        return bytes(heard)
    return None


@contextmanager
def in_a_thread(talk: Callable[[socket.socket], object]) -> Iterator[int]:
    """Return the port of a listener that calls `talk` for each connection, in a separate thread."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(DEADLINE_S)
        calls: list[threading.Thread] = []

        def call(sock: socket.socket) -> None:
            with sock, suppress(OSError):
                sock.settimeout(DEADLINE_S)
                talk(sock)

        def answer() -> None:
            with suppress(OSError):
                while True:
                    sock, _ = listener.accept()
                    calls.append(threading.Thread(target=call, args=(sock,)))
                    calls[-1].start()

        accepting = threading.Thread(target=answer)
        accepting.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            accepting.join()
            for thread in calls:
                thread.join()


async def moments(count: int) -> None:
    """Run `count` iterations of the loop."""
    for _ in range(count):
        await asyncio.sleep(0)
