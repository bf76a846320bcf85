"""`portway http --terminate agent`: the server relays ciphertext, and the agent serves requests as the server would."""

import hashlib
import http.client
import json
import os
import shutil
import signal
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.world import World, event, events
from tests.kit.certificates import Identity, client_context, make_identity
from tests.kit.http_origin import HttpOrigin
from tests.kit.origins import RawOrigin
from tests.kit.pebble import pebble
from tests.kit.programs import Program
from tests.kit.sockets import free_port
from tests.kit.streams import stream_hash

HOST = "app.localhost"


@pytest.fixture
def world() -> Iterator[World]:
    with World(https=True) as world:
        world.start_server()
        yield world


@pytest.fixture(scope="module")
def origin() -> Iterator[HttpOrigin]:
    with HttpOrigin() as origin:
        yield origin


@pytest.fixture
def identity(tmp_path: Path) -> Identity:
    return make_identity(tmp_path, HOST)


def start(world: World, target: str | int, *flags: str | Path) -> Program:
    words = ("http", str(target), "--name", "app", "--terminate", "agent", *map(str, flags))
    agent = world.agent(world.token(), *words)
    assert event(agent, "tunnel_up")["url"] == f"https://{HOST}:{world.https_port}"
    return agent


def with_files(identity: Identity) -> tuple[str, ...]:
    return "--cert", str(identity.cert_file), "--key", str(identity.key_file)


class Visitor(http.client.HTTPSConnection):
    """Connects to the tunnel by its name."""

    def __init__(self, world: World, context: ssl.SSLContext) -> None:
        super().__init__(HOST, world.https_port, timeout=20, context=context)
        self._tls = context
        world.programs_stack.callback(self.close)

    def connect(self) -> None:
        raw = socket.create_connection(("127.0.0.1", self.port), timeout=20)
        self.sock = self._tls.wrap_socket(raw, server_hostname=HOST)

    def get(self, path: str, method: str = "GET", body: bytes | None = None, **headers: str) -> tuple[int, http.client.HTTPMessage, bytes]:
        self.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        got = self.getresponse()
        return got.status, got.headers, got.read()


def test_the_certificate_is_the_agents_and_origins_get_the_visitors_address(world: World, origin: HttpOrigin, identity: Identity) -> None:
    agent = start(world, origin.port, *with_files(identity))
    visitor = Visitor(world, client_context(identity))

    status, _, body = visitor.get("/headers", X_Forwarded_For="203.0.113.7")

    fields = {name.lower(): value for name, value in json.loads(body)["headers"]}
    assert status == 200
    assert (fields["x-forwarded-for"], fields["x-forwarded-proto"], fields["x-forwarded-host"]) == (
        "127.0.0.1",
        "https",
        f"{HOST}:{world.https_port}",
    )
    assert visitor.sock is not None
    assert visitor.sock.getpeercert(binary_form=True) == ssl.PEM_cert_to_DER_cert(Path(identity.cert_file).read_text())
    assert visitor.get("/hello")[2] == b"hello from origin\n", "kept alive"
    line = event(agent, "request_line", 2)
    assert (line["method"], line["path"], line["status"]) == ("GET", "/hello", 200)
    wrong = Visitor(world, client_context(identity))
    assert wrong.get("/hello", Host="other.localhost")[0] == 421


def test_bodies_pass_whole_in_both_directions(world: World, origin: HttpOrigin, identity: Identity) -> None:
    start(world, origin.port, *with_files(identity))
    visitor = Visitor(world, client_context(identity))
    size = 30_000_000
    assert hashlib.sha256(visitor.get(f"/bytes?n={size}")[2]).hexdigest() == stream_hash(size)
    sent = os.urandom(size)
    assert json.loads(visitor.get("/sink", "PUT", sent)[2]) == {"bytes": size, "sha256": hashlib.sha256(sent).hexdigest()}


def test_a_service_that_is_down_is_a_page_from_the_agent(world: World, identity: Identity) -> None:
    start(world, free_port(), *with_files(identity))
    status, headers, body = Visitor(world, client_context(identity)).get("/", Accept="application/json")
    assert (status, headers["Portway-Error"]) == (502, "origin_unreachable")
    assert "cannot connect to the service" in body.decode()


def test_rules_and_limits_are_the_agents(world: World, origin: HttpOrigin, identity: Identity, tmp_path: Path) -> None:
    start(world, origin.port, *with_files(identity), "--deny-ip", "127.0.0.0/8", "--hsts", "1d")
    status, headers, _ = Visitor(world, client_context(identity)).get("/")
    assert (status, headers["Portway-Error"]) == (403, "address_denied")


def test_the_server_sees_no_plaintext(origin: HttpOrigin, identity: Identity) -> None:
    canary = "canary-" + os.urandom(8).hex()
    with World(https=True, server_flags=("--plaintext-links",)) as world:
        world.start_server()
        tap = Tap(world.agents_port)
        world.agents_port, before = tap.port, world.agents_port
        join = world.token()
        world.agents_port = before
        text = str(join).replace(f":{before}", f":{tap.port}")
        file = world.home / "tapped"
        file.touch(mode=0o600)
        file.write_text(text)
        agent = world.start(
            *("http", str(origin.port), "--name", "app", "--terminate", "agent", *with_files(identity), "--plaintext-links"),
            *("--join-file", str(file), "--data", str(world.home / "agent"), "--json"),
        )
        event(agent, "tunnel_up")
        assert Visitor(world, client_context(identity)).get(f"/{canary}", "PUT", canary.encode() * 100)[0] == 200
        assert tap.seen
        assert b"app.localhost" in tap.seen, "the tap works: the server name is in the preamble"
        assert canary.encode() not in tap.seen
        agent.signal(signal.SIGINT)
        agent.wait()
        tap.close()


class Tap:
    """Relays to a port, and keeps all bytes."""

    def __init__(self, target: int) -> None:
        self.seen = bytearray()
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._run, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _run(self) -> None:
        while True:
            try:
                one, _ = self._listener.accept()
            except OSError:
                return
            other = socket.create_connection(("127.0.0.1", self._target))
            for source, sink in ((one, other), (other, one)):
                threading.Thread(target=self._copy, args=(source, sink), daemon=True).start()

    def _copy(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                self.seen += data
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            sink.close()


def test_the_development_ca_is_the_agents_own(world: World, origin: HttpOrigin) -> None:
    agent = start(world, origin.port)
    root = world.home / "agent" / "dev-ca.pem"
    until = time.monotonic() + 10
    while not root.exists():
        assert time.monotonic() < until
        time.sleep(0.05)
    assert root.read_bytes() != world.ca_file.read_bytes()
    context = ssl.create_default_context(cafile=str(root))
    _retried(lambda: Visitor(world, context).get("/hello"))
    assert any("development CA" in found["text"] for found in events(agent, "notice"))


def test_a_break_of_the_agent_is_no_proper_end(world: World, origin: HttpOrigin, identity: Identity) -> None:
    agent = start(world, origin.port, *with_files(identity))
    with (
        socket.create_connection(("127.0.0.1", world.https_port), timeout=20) as sock,
        client_context(identity).wrap_socket(sock, server_hostname=HOST, suppress_ragged_eofs=False) as tls,
    ):
        tls.sendall(f"GET /bytes?n=2000000000 HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
        tls.recv(100_000)
        agent.signal(signal.SIGKILL)
        with pytest.raises((ConnectionResetError, ssl.SSLEOFError)):
            while tls.recv(1_000_000):
                pass


def test_websockets_are_relayed(world: World, identity: Identity) -> None:
    def upgrade(sock: socket.socket) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            head += sock.recv(4096)
        sock.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
        while data := sock.recv(4096):
            sock.sendall(data)

    with RawOrigin(upgrade) as raw:
        start(world, raw.port, *with_files(identity))
        with (
            socket.create_connection(("127.0.0.1", world.https_port), timeout=10) as sock,
            client_context(identity).wrap_socket(sock, server_hostname=HOST) as tls,
        ):
            tls.sendall(f"GET / HTTP/1.1\r\nHost: {HOST}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n".encode())
            received = b""
            while b"\r\n\r\n" not in received:
                received += tls.recv(4096)
            assert received.startswith(b"HTTP/1.1 101 ")
            tls.sendall(struct.pack(">I", 7) * 1000)
            echoed = b""
            while len(echoed) < 4000:
                echoed += tls.recv(65536)
            assert echoed == struct.pack(">I", 7) * 1000


def test_the_agent_orders_its_certificate_through_its_own_tunnel(origin: HttpOrigin) -> None:
    world = World(https=True, server_flags=("--domain", "tunnel.example.org"))
    with pebble(http_port=free_port(), tls_port=world.https_port) as ca, world:
        world.start_server("--dev-tls")
        agent = world.agent(
            world.token("shop", "--hosts", "shop.example.net"),
            *("http", str(origin.port), "--host", "shop.example.net", "--terminate", "agent"),
            *("--acme-email", "me@example.org", "--acme-directory", ca.directory, "--acme-ca", str(ca.ca_file)),
        )
        event(agent, "tunnel_up")
        agent.expect("certificate for shop.example.net from", 30)
        context = ssl.create_default_context(cadata=ca.issuing_root().decode())
        with (
            socket.create_connection(("127.0.0.1", world.https_port), timeout=10) as sock,
            context.wrap_socket(sock, server_hostname="shop.example.net") as tls,
        ):
            tls.sendall(b"GET /hello HTTP/1.1\r\nHost: shop.example.net\r\nConnection: close\r\n\r\n")
            assert b"200 OK" in tls.recv(4096)


@pytest.mark.long
def test_a_replaced_certificate_is_served_without_a_restart(world: World, origin: HttpOrigin, identity: Identity, tmp_path: Path) -> None:
    agent = start(world, origin.port, *with_files(identity))
    assert Visitor(world, client_context(identity)).get("/hello")[0] == 200
    (tmp_path / "new").mkdir()
    new = make_identity(tmp_path / "new", HOST)
    shutil.copy(new.key_file, identity.key_file)
    shutil.copy(new.cert_file, identity.cert_file)
    _retried(lambda: Visitor(world, client_context(new)).get("/hello"), 25)
    assert not list(events(agent, "notice"))


def _retried(work: Callable[[], object], deadline_s: float = 10.0) -> None:
    until = time.monotonic() + deadline_s
    while True:
        try:
            work()
        except (OSError, ssl.SSLError):
            assert time.monotonic() < until
            time.sleep(0.2)
        else:
            return
