"""Real proxies in front, set up as in docs/behind-a-proxy.md: origins get their visitors' addresses, and agents print the public URLs."""

import json
import re
import shutil
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPSConnection
from pathlib import Path
from typing import Any, Self

import pytest

from tests.e2e.world import World, event, steady_ports
from tests.kit.certificates import Identity, make_identity
from tests.kit.http_origin import HttpOrigin
from tests.kit.origins import RawOrigin, echo
from tests.kit.programs import Program
from tests.kit.sockets import DEADLINE_S

DOCUMENT = Path(__file__).parents[2] / "docs" / "behind-a-proxy.md"
FOLDER = "/etc/ssl/tunnel.example.org"
TRUST = ("--trusted-proxies", "127.0.0.1,::1", "--log-visitors")


def example(language: str) -> str:
    """Return the only configuration of a kind in the document."""
    (block,) = re.findall(rf"```{language}\n(.*?)```", DOCUMENT.read_text("utf-8"), re.DOTALL)
    return str(block)


def need(program: str) -> str:
    path = shutil.which(program) or shutil.which(program, path="/usr/sbin:/sbin")
    if path is None:
        pytest.skip(f"{program} is not installed")
    return path


@contextmanager
def nginx(folder: Path, port: int, to: int, certificate: Identity, extra: str = "") -> Iterator[Program]:
    """Run nginx with the document's configuration."""
    server = example("nginx").replace("listen 443 ssl", f"listen 127.0.0.1:{port} ssl").replace("127.0.0.1:8080", f"127.0.0.1:{to}")
    server = server.replace(f"{FOLDER}/fullchain.pem", str(certificate.cert_file)).replace(
        f"{FOLDER}/privkey.pem", str(certificate.key_file)
    )
    server = server.replace("tunnel.example.org", "localhost").replace("proxy_buffering off;", f"{extra}\n        proxy_buffering off;")
    paths = "".join(f"{kind}_temp_path {folder / kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    config = folder / "nginx.conf"
    config.write_text(
        f"daemon off;\nmaster_process off;\npid {folder / 'nginx.pid'};\nerror_log stderr;\nevents {{ }}\n"
        f"http {{\naccess_log off;\n{paths}{server}\n}}\n"
    )
    with Program([need("nginx"), "-p", str(folder), "-c", str(config)], name="nginx") as program:
        listening(port, program)
        yield program


@contextmanager
def caddy(folder: Path, port: int, to: int, certificate: Identity, _extra: str = "") -> Iterator[Program]:
    """Run Caddy with the document's configuration."""
    site = (
        example("caddyfile")
        .replace("https://*.tunnel.example.org", f"https://blog.localhost:{port}")
        .replace("127.0.0.1:8080", f"127.0.0.1:{to}")
    )
    site = site.replace(f"{FOLDER}/fullchain.pem", str(certificate.cert_file)).replace(f"{FOLDER}/privkey.pem", str(certificate.key_file))
    site = site.replace("{\n", "{\n\tbind 127.0.0.1\n", 1)
    config = folder / "Caddyfile"
    config.write_text(f"{{\n\tadmin off\n\tauto_https disable_redirects\n}}\n{site}")
    env = {"HOME": str(folder), "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
    with Program([need("caddy"), "run", "--config", str(config), "--adapter", "caddyfile"], env=env, name="caddy") as program:
        listening(port, program)
        yield program


@contextmanager
def haproxy(folder: Path, port: int, to: int, certificate: Identity, how: str) -> Iterator[Program]:
    """Run HAProxy with the document's configuration; `how` is what it sends in front of connections."""
    pem = folder / "all.pem"
    pem.write_bytes(certificate.cert_file.read_bytes() + certificate.key_file.read_bytes())
    listen = example("haproxy").replace("bind :443", f"bind 127.0.0.1:{port}").replace("127.0.0.1:8080", f"127.0.0.1:{to}")
    listen = listen.replace(f"{FOLDER}/all.pem", str(pem)).replace("send-proxy-v2-ssl", how)
    if "ssl" not in how:
        listen = re.sub(r" ssl crt \S+", "", listen)
    config = folder / "haproxy.cfg"
    times = "    timeout connect 5s\n    timeout client 60s\n    timeout server 60s\n"
    config.write_text(f"global\n    maxconn 100\ndefaults\n{times}{listen}")
    with Program([need("haproxy"), "-db", "-f", str(config)], name="haproxy") as program:
        listening(port, program)
        yield program


def listening(port: int, program: Program) -> None:
    """Wait until the port accepts connections."""
    for _ in range(int(DEADLINE_S / 0.05)):
        with socket.socket() as probe:
            probe.settimeout(0.05)
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        assert program.running, program.transcript()
        program.err.wait_for("this is never said", 0.05)
    raise AssertionError(program.transcript())


@pytest.fixture
def certificate(tmp_path: Path) -> Identity:
    return make_identity(tmp_path, "*.localhost", "blog.localhost", "localhost")


@pytest.fixture
def origin() -> Iterator[HttpOrigin]:
    with HttpOrigin() as origin:
        yield origin


class Visitor:
    """One connection to a proxy."""

    def __init__(self, port: int, certificate: Identity | None, address: str = "127.0.0.5") -> None:
        host = "blog.localhost"
        self._sock = socket.create_connection(("127.0.0.1", port), DEADLINE_S, source_address=(address, 0))
        if certificate is not None:
            context = ssl.create_default_context(cafile=str(certificate.cert_file))
            self._sock = context.wrap_socket(self._sock, server_hostname=host)
        kind: Callable[..., HTTPConnection] = HTTPConnection if certificate is None else HTTPSConnection
        self.line = kind(host, port, timeout=DEADLINE_S)
        self.line.sock = self._sock

    def headers(self, **fields: str) -> dict[str, str]:
        """Return the headers the origin got, in lower case."""
        self.line.request("GET", "/headers", headers={name.replace("_", "-"): value for name, value in fields.items()})
        answer = self.line.getresponse()
        body = answer.read()
        assert answer.status == 200, body
        return {name.lower(): value for name, value in json.loads(body)["headers"]}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.line.close()


def world_behind(port: int, *flags: str) -> World:
    return World(server_flags=(*TRUST, "--public-url", f"https://localhost:{port}", *flags))


def told_address(server: Program, number: int = 1) -> Any:
    return event(server, "request_done", number)["visitor"]


@pytest.mark.parametrize("proxy", [nginx, caddy], ids=["nginx", "Caddy"])
@pytest.mark.parametrize("workers", [(), ("--workers", "2")], ids=["one process", "two workers"])
def test_an_origin_behind_a_proxy_gets_its_visitors_addresses(
    tmp_path: Path, certificate: Identity, origin: HttpOrigin, proxy: Any, workers: tuple[str, ...]
) -> None:
    port = steady_ports(1)
    need("nginx" if proxy is nginx else "caddy")
    with world_behind(port, *workers) as world, proxy(tmp_path, port, world.http_port, certificate):
        server = world.start_server()
        agent = world.agent(world.token(), "http", str(origin.port), "--name", "blog")
        assert event(agent, "tunnel_up")["url"] == f"https://blog.localhost:{port}"
        for number, address in enumerate(("127.0.0.5", "127.0.0.6"), 1):
            with Visitor(port, certificate, address) as visitor:
                said = visitor.headers(
                    X_Forwarded_For="6.6.6.6", Forwarded="for=6.6.6.6;proto=gopher", X_Real_IP="6.6.6.6", X_Auth_Request_User="root"
                )
            assert said["x-forwarded-for"] == f"{address}, 127.0.0.1"
            assert said["x-forwarded-proto"] == "https"
            assert said["x-forwarded-host"] == said["host"] == f"blog.localhost:{port}"
            assert said["forwarded"] == f'for={address};host="blog.localhost:{port}";proto=https, for=127.0.0.1'
            assert "6.6.6.6" not in str(said)
            assert "x-auth-request-user" not in said
            assert told_address(server, number) == address


def test_the_user_field_is_accepted_from_the_proxy_only(tmp_path: Path, certificate: Identity, origin: HttpOrigin) -> None:
    port = steady_ports(1)
    need("nginx")
    extra = 'proxy_set_header X-Auth-Request-User "alice";'
    with (
        world_behind(port, "--trusted-header", "X-Auth-Request-User", "--trusted-header", "Remote-*") as world,
        nginx(tmp_path, port, world.http_port, certificate, extra),
    ):
        world.start_server()
        event(world.agent(world.token(), "http", str(origin.port), "--name", "blog"), "tunnel_up")
        with Visitor(port, certificate) as visitor:
            said = visitor.headers(X_Auth_Request_User="root", X_Auth_Request_Email="root@localhost")
            assert said["x-auth-request-user"] == "alice"
            assert "x-auth-request-email" not in said
        with Visitor(world.http_port, None, "127.0.0.5") as stranger:
            assert "x-auth-request-user" not in stranger.headers(X_Auth_Request_User="root")


def test_a_websocket_passes_through_nginx(tmp_path: Path, certificate: Identity) -> None:
    port = steady_ports(1)
    need("nginx")
    asked: list[bytes] = []

    def upgrade(sock: socket.socket) -> None:
        asked.append(sock.recv(65536))
        sock.sendall(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x\r\n\r\n")
        while data := sock.recv(65536):
            sock.sendall(data.upper())

    with RawOrigin(upgrade) as origin, world_behind(port) as world, nginx(tmp_path, port, world.http_port, certificate):
        server = world.start_server()
        event(world.agent(world.token(), "http", str(origin.port), "--name", "blog"), "tunnel_up")
        with Visitor(port, certificate) as visitor:
            visitor.line.request("GET", "/ws", headers={"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Key": "x"})
            sock = visitor.line.sock
            head = b""
            while b"\r\n\r\n" not in head:
                head += sock.recv(65536)
            assert head.startswith(b"HTTP/1.1 101 ")
            sock.sendall(b"frame")
            assert sock.recv(100) == b"FRAME"
        assert b"X-Forwarded-For: 127.0.0.5, 127.0.0.1\r\n" in asked[0]
        assert event(server, "relay_done")["visitor"] == "127.0.0.5"


@pytest.mark.parametrize("how", ["send-proxy", "send-proxy-v2", "send-proxy-v2-ssl"])
def test_haproxy_announces_visitors_of_http(tmp_path: Path, certificate: Identity, origin: HttpOrigin, how: str) -> None:
    port = steady_ports(1)
    need("haproxy")
    encrypted = "ssl" in how
    with (
        World(server_flags=(*TRUST, "--proxy-protocol", "http", "--workers", "2")) as world,
        haproxy(tmp_path, port, world.http_port, certificate, how),
    ):
        server = world.start_server()
        event(world.agent(world.token(), "http", str(origin.port), "--name", "blog"), "tunnel_up")
        for number in range(1, 5):
            with Visitor(port, certificate if encrypted else None) as visitor:
                said = visitor.headers(X_Forwarded_For="6.6.6.6", X_Forwarded_Proto="gopher")
            assert said["x-forwarded-for"] == "127.0.0.5"
            assert said["x-forwarded-proto"] == ("https" if encrypted else "http")
            assert told_address(server, number) == "127.0.0.5"


@pytest.mark.parametrize("how", ["send-proxy", "send-proxy-v2"])
def test_haproxy_announces_visitors_of_tcp(tmp_path: Path, certificate: Identity, how: str) -> None:
    port = steady_ports(1)
    need("haproxy")
    with RawOrigin(echo) as origin, World(server_flags=(*TRUST, "--proxy-protocol", "tcp")) as world:
        server = world.start_server()
        public = event(world.agent(world.token(), "tcp", str(origin.port)), "tunnel_up")["port"]
        with haproxy(tmp_path, port, public, certificate, how):
            for address, to in (("127.0.0.5", port), ("127.0.0.6", public)):
                with socket.create_connection(("127.0.0.1", to), DEADLINE_S, source_address=(address, 0)) as visitor:
                    visitor.sendall(b"hello")
                    assert visitor.recv(100) == b"hello"
                server.expect(rf'"event":"relay_done".*"total_bytes":5,.*"visitor":"{re.escape(address)}"')
