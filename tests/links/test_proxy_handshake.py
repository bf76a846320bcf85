"""A connection to a target from a proxy, on real sockets; and proxies that refuse, break, or are no proxies."""

import select
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, suppress
from pathlib import Path

import pytest

from portway.engine.channel import BLOCKED, Channel
from portway.errors import ConfigError, UnavailableError
from portway.links.dial import dial
from portway.links.proxy_handshake import ProxyHandshake, proxy_context
from portway.protocol.proxy_client import Refusal
from portway.protocol.proxy_url import ProxyUrl, parse_proxy_url
from tests.kit.certificates import Identity, make_identity
from tests.kit.loops import EngineLoop
from tests.kit.origins import RawOrigin
from tests.kit.proxy_programs import PROXIES, RunningProxy
from tests.kit.sockets import free_port, open_descriptors
from tests.links.kit import context_of, delivers, open_listener, pinned

Start = Callable[..., AbstractContextManager[RunningProxy]]

HELLO = b"the target speaks first\r\n\r\n"


def serve_connect(visitor: socket.socket, *, piece: int = 1 << 16) -> None:
    """Be a small HTTP proxy for one connection, whose replies go out in pieces of `piece` bytes."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += visitor.recv(1)
    host, _, port = head.split()[1].decode().rpartition(":")
    with socket.create_connection((host.strip("[]"), int(port))) as target:
        reply = b"HTTP/1.1 200 Connection established\r\n\r\n"
        for at in range(0, len(reply), piece):
            visitor.sendall(reply[at : at + piece])
        with suppress(ValueError):  # the test has closed one of them
            carry(visitor, target)


def carry(visitor: socket.socket, target: socket.socket) -> None:
    """Relay until one side ends or is closed, in one thread: an SSLSocket cannot be shared by two."""
    other = {visitor: target, target: visitor}
    while visitor.fileno() >= 0:
        for source in select.select(list(other), [], [])[0]:
            data = source.recv(65536)
            if not data:
                return
            other[source].sendall(data)


def connect(engine: EngineLoop, proxy: ProxyUrl, port: int, context: ssl.SSLContext | None = None) -> Channel | Refusal:
    """Return the outcome of a handshake with the proxy for a target on this machine."""
    sock = socket.create_connection(("127.0.0.1", proxy.port))
    sock.setblocking(False)
    outcome: list[Channel | Refusal] = []
    ProxyHandshake(engine.reactor, sock, proxy, "127.0.0.1", port, outcome.append, context=context)
    engine.run_until(lambda: bool(outcome), what="the end of the handshake")
    return outcome[0]


def greeting(engine: EngineLoop, channel: Channel) -> bytes:
    """Return what the target says without being asked."""
    buffer, got = memoryview(bytearray(100)), bytearray()

    def read() -> None:
        while (count := channel.recv_into(buffer)) > 0:
            got.extend(buffer[:count])
        assert count == BLOCKED

    channel.on_readable = read
    read()
    engine.run_until(lambda: len(got) >= len(HELLO), what="the greeting")
    return bytes(got)


@pytest.fixture
def origin() -> Iterator[RawOrigin]:
    def greet(visitor: socket.socket) -> None:
        visitor.sendall(HELLO)
        visitor.recv(1)

    with RawOrigin(greet) as one:
        yield one


@pytest.fixture(scope="module")
def identity(tmp_path_factory: pytest.TempPathFactory) -> Identity:
    return make_identity(tmp_path_factory.mktemp("identity"), "localhost", "127.0.0.1")


@pytest.mark.parametrize("authenticates", [False, True], ids=["open", "with a password"])
@pytest.mark.parametrize("start", PROXIES, ids=lambda start: start.__name__)
def test_a_target_that_speaks_first_is_heard_through_every_proxy(
    engine: EngineLoop, origin: RawOrigin, tmp_path: Path, start: Start, authenticates: bool
) -> None:
    with start(tmp_path, authenticates=authenticates) as running:
        channel = connect(engine, parse_proxy_url(running.url_with_credentials, "test"), origin.port)
        assert not isinstance(channel, Refusal), channel
        assert greeting(engine, channel) == HELLO
        channel.close()
        refused = connect(engine, parse_proxy_url(running.url_with_credentials, "test"), free_port())
        assert isinstance(refused, Refusal)
        if authenticates:
            unknown = connect(engine, parse_proxy_url(running.url, "test"), origin.port)
            assert isinstance(unknown, Refusal)
            assert unknown.error == "authentication"


@pytest.mark.parametrize("piece", [1, 5])
def test_a_reply_in_small_pieces_is_enough(engine: EngineLoop, origin: RawOrigin, piece: int) -> None:
    with RawOrigin(lambda visitor: serve_connect(visitor, piece=piece)) as proxy:
        channel = connect(engine, ProxyUrl("http", "127.0.0.1", proxy.port), origin.port)
        assert not isinstance(channel, Refusal)
        assert greeting(engine, channel) == HELLO
        channel.close()


def test_an_https_proxy_must_have_a_valid_certificate(engine: EngineLoop, origin: RawOrigin, identity: Identity, tmp_path: Path) -> None:
    def serve(visitor: socket.socket) -> None:
        with visitor.dup() as own, suppress(ValueError), identity.server_context().wrap_socket(own, server_side=True) as tls:
            serve_connect(tls)

    with RawOrigin(serve) as proxy:
        url = ProxyUrl("https", "127.0.0.1", proxy.port)
        channel = connect(engine, url, origin.port, proxy_context(str(identity.cert_file)))
        assert not isinstance(channel, Refusal)
        assert greeting(engine, channel) == HELLO
        channel.close()
        refused = connect(engine, url, origin.port)
        assert isinstance(refused, Refusal)
        assert refused.error == "tls_certificate_error"
    with pytest.raises(ConfigError, match="invalid CA certificates"):
        proxy_context(str(tmp_path / "missing.pem"))


@pytest.mark.parametrize(
    ("scheme", "reply", "error", "text"),
    [
        ("http", b"HTTP/1.1 403 Forbidden\r\n\r\n", "http_request_denied", "403 Forbidden"),
        ("http", b"SSH-2.0-x\r\n", "http_protocol_error", "does not respond with HTTP"),
        ("http", b"", "connection_terminated", "without a complete reply"),
        ("http", b"HTTP/1.1 200 OK\r\n", "connection_terminated", "without a complete reply"),
        ("http", b"HTTP/1.1 200 OK\r\n" + b"\r\r" * 9000, "http_protocol_error", "more than 16384 bytes"),
        ("socks5", b"HTTP/1.1 400 Bad Request\r\n\r\n", "http_protocol_error", "not a SOCKS5 server"),
        ("https", b"HTTP/1.1 400 Bad Request\r\n\r\n", "tls_protocol_error", "TLS failed"),
    ],
)
def test_other_replies_end_with_a_reason(engine: EngineLoop, scheme: str, reply: bytes, error: str, text: str) -> None:
    def serve(visitor: socket.socket) -> None:
        visitor.recv(1)
        visitor.sendall(reply)
        visitor.shutdown(socket.SHUT_WR)
        visitor.recv(65536)

    with RawOrigin(serve) as proxy:
        outcome = connect(engine, parse_proxy_url(f"{scheme}://127.0.0.1:{proxy.port}", "test"), 1)
        assert isinstance(outcome, Refusal)
        assert outcome.error == error
        assert text in outcome.text


# Links.


def swallow(visitor: socket.socket) -> None:
    """Read, and send nothing."""
    while visitor.recv(65536):
        pass


@pytest.mark.parametrize("encrypted", [True, False], ids=["TLS links", "plain links"])
@pytest.mark.parametrize("by_tls", [True, False], ids=["https proxy", "http proxy"])
def test_a_link_through_a_proxy_is_verified_end_to_end(
    engine: EngineLoop, identity: Identity, encrypted: bool, by_tls: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    from portway.links import proxy_handshake

    monkeypatch.setenv("SSL_CERT_FILE", str(identity.cert_file))
    proxy_handshake.system_context.cache_clear()

    def serve(visitor: socket.socket) -> None:
        if by_tls:
            with visitor.dup() as own, suppress(ValueError), identity.server_context().wrap_socket(own, server_side=True) as tls:
                serve_connect(tls)
        else:
            serve_connect(visitor)

    with RawOrigin(serve) as proxy, open_listener(engine, context_of(identity) if encrypted else None) as listener:
        url = ProxyUrl("https" if by_tls else "http", "127.0.0.1", proxy.port)
        before, watched = open_descriptors(), len(engine.reactor._handlers)
        link = engine.run(dial(engine.reactor, "127.0.0.1", listener.port, pinned(identity) if encrypted else None, proxy=url))
        engine.run_until(lambda: bool(listener.links), what="the link")
        assert delivers(engine, link, listener.links[0], b"from the agent")
        assert delivers(engine, listener.links[0], link, b"from the server")
        link.close()
        listener.links[0].close()
        engine.run_until(lambda: len(engine.reactor._handlers) <= watched, what="the end of both")
        engine.run_until(lambda: not proxy.live, what="the end of the proxy's connection")
        engine.settle()
        assert open_descriptors() <= before
    proxy_handshake.system_context.cache_clear()


def test_a_silent_proxy_ends_the_dial_at_its_deadline(engine: EngineLoop, identity: Identity) -> None:
    with RawOrigin(swallow) as proxy:
        watched = len(engine.reactor._handlers)
        url = parse_proxy_url(f"http://ann:S3cret-word@127.0.0.1:{proxy.port}", "test")
        with pytest.raises(UnavailableError, match=rf"^the proxy http://127.0.0.1:{proxy.port} did not respond within 0.3 s"):
            engine.run(dial(engine.reactor, "server.invalid", 1, pinned(identity), 0.3, proxy=url))
        engine.settle()
        assert len(engine.reactor._handlers) <= watched
