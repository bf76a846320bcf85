"""Certificates of a real CA's program for a real server's tunnels, with one process or several."""

import json
import signal
import socket
import ssl
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.world import World, event, events
from tests.kit.http_origin import HttpOrigin
from tests.kit.pebble import Pebble, pebble
from tests.kit.programs import Program

DOMAIN = "tunnel.example.org"

MOSTLY_ONE = pytest.mark.parametrize(
    "site", [pytest.param(1, id="one process"), pytest.param(2, id="workers", marks=pytest.mark.long)], indirect=True
)
MOSTLY_WORKERS = pytest.mark.parametrize(
    "site", [pytest.param(1, id="one process", marks=pytest.mark.long), pytest.param(2, id="workers")], indirect=True
)


@pytest.fixture(scope="module")
def origin() -> Iterator[HttpOrigin]:
    with HttpOrigin() as origin:
        yield origin


@pytest.fixture(params=[1, 2], ids=["one process", "workers"])
def site(request: pytest.FixtureRequest) -> Iterator[tuple[World, Pebble]]:
    """A server whose ports a CA can reach, which orders from it."""
    world = World(https=True)
    with pebble(http_port=world.http_port, tls_port=world.https_port) as ca:
        world.server_flags = (
            *("--domain", DOMAIN, "--workers", str(request.param)),
            *("--acme-email", "me@example.org", "--acme-directory", ca.directory, "--acme-ca", str(ca.ca_file)),
        )
        with world:
            yield world, ca


def dial(world: World, ca: Pebble, name: str) -> ssl.SSLSocket:
    """Connect to a tunnel like a browser that trusts the CA."""
    context = ssl.create_default_context(cadata=ca.issuing_root().decode())
    sock = socket.create_connection(("127.0.0.1", world.https_port), timeout=10)
    return context.wrap_socket(sock, server_hostname=f"{name}.{DOMAIN}")


def served(world: World, ca: Pebble, name: str) -> bytes:
    with dial(world, ca, name) as tls:
        tls.sendall(f"GET /hello HTTP/1.1\r\nHost: {name}.{DOMAIN}:{world.https_port}\r\nConnection: close\r\n\r\n".encode())
        received = b""
        while piece := tls.recv(65536):
            received += piece
    return received


def plain(world: World, name: str) -> bytes:
    with socket.create_connection(("127.0.0.1", world.http_port), timeout=10) as sock:
        sock.sendall(f"GET /hello HTTP/1.1\r\nHost: {name}.{DOMAIN}:{world.http_port}\r\nConnection: close\r\n\r\n".encode())
        received = b""
        while piece := sock.recv(65536):
            received += piece
    return received


def up(server: Program, name: str) -> dict[str, object]:
    """Wait until a certificate is served."""
    found: dict[str, object] = event(server, "certificate_up")
    assert found["id"] == f"{name}.{DOMAIN}"
    return found


def test_a_listed_name_gets_https_and_a_random_one_does_not(site: tuple[World, Pebble], origin: HttpOrigin) -> None:
    world, ca = site
    server = world.start_server()
    token = world.token("laptop", "--hosts", "shop,post,dev-*")
    agent = world.agent(token, "http", str(origin.port), "--name", "shop")
    assert event(agent, "tunnel_up")["url"] == f"https://shop.{DOMAIN}:{world.https_port}"
    assert b"200 OK" in served(world, ca, "shop"), "a visitor who comes before the certificate waits for it"
    issued = up(server, "shop")
    assert issued["source"] == "acme"
    event(world.agent(token, "http", str(origin.port), "--name", "dev-1", data="other"), "tunnel_up")
    event(world.agent(token, "tls", str(origin.port), "--name", "post", data="third"), "tunnel_up")

    assert b"200 OK" in served(world, ca, "shop")
    assert plain(world, "shop").startswith(b"HTTP/1.1 308 ")
    assert b"200 OK" in plain(world, "dev-1")
    with pytest.raises(ssl.SSLError, match="(?i)unrecognized.name"):
        served(world, ca, "dev-1")
    assert [one["id"] for one in events(server, "certificate_ordered")] == [f"shop.{DOMAIN}"]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_visitor_who_waits_for_an_order_that_fails_gets_an_alert(origin: HttpOrigin, workers: int) -> None:
    world = World(https=True)
    with pebble(http_port=9, tls_port=9) as ca:  # the CA reaches no port of the server
        world.server_flags = (
            *("--domain", DOMAIN, "--workers", str(workers)),
            *("--acme-email", "me@example.org", "--acme-directory", ca.directory, "--acme-ca", str(ca.ca_file)),
        )
        with world:
            server = world.start_server()
            agent = world.agent(world.token("laptop", "--hosts", "shop"), "http", str(origin.port), "--name", "shop")
            assert str(event(agent, "tunnel_up")["url"]).startswith("https://")
            started = time.monotonic()
            with pytest.raises(ssl.SSLError, match="(?i)unrecognized.name"):
                served(world, ca, "shop")
            assert time.monotonic() - started < 15, "the deadline of a handshake, with a slow machine"
            assert event(server, "certificate_failed")["next_attempt"]
            with pytest.raises(ssl.SSLError, match="(?i)unrecognized.name"):
                served(world, ca, "shop")
            assert b"200 OK" in plain(world, "shop")


HOOK = """#!{python}
import json, sys, urllib.request
action, name, value = sys.argv[1:]
path, body = ("/set-txt", {{"host": name + ".", "value": value}}) if action == "add" else ("/clear-txt", {{"host": name + "."}})
urllib.request.urlopen(urllib.request.Request("{management}" + path, json.dumps(body).encode()), timeout=10).close()
"""


@MOSTLY_ONE
def test_one_wildcard_serves_random_names_and_is_listed(site: tuple[World, Pebble], origin: HttpOrigin, tmp_path: Path) -> None:
    world, ca = site
    hook = tmp_path / "hook"
    hook.write_text(HOOK.format(python=sys.executable, management=ca.dns.management))
    hook.chmod(0o755)
    server = world.start_server("--acme-dns-hook", str(hook))
    assert event(server, "certificate_up")["names"] == [f"*.{DOMAIN}", DOMAIN]
    tunnel = event(world.agent(world.token(), "http", str(origin.port)), "tunnel_up")
    name = str(tunnel["url"]).removeprefix("https://").partition(".")[0]

    assert b"200 OK" in served(world, ca, name)
    [status] = [one for one in json.loads(world.run("status", "--json").out) if one["program"] == "server"]
    [row] = status["certificates"]
    assert (row["source"], row["names"], row["last_error"]) == ("acme", [f"*.{DOMAIN}", DOMAIN], "")
    assert time.time() < row["next_attempt"] < row["not_after"]
    assert len(list(events(server, "certificate_ordered"))) == 1


@MOSTLY_WORKERS
def test_a_killed_server_serves_its_certificates_at_once(site: tuple[World, Pebble], origin: HttpOrigin) -> None:
    world, ca = site
    server = world.start_server()
    agent = world.agent(world.token("laptop", "--hosts", "shop"), "http", str(origin.port), "--name", "shop")
    event(agent, "tunnel_up")
    up(server, "shop")
    server.kill()
    again = world.start_server()
    up(again, "shop")
    event(again, "lease_up")

    assert b"200 OK" in served(world, ca, "shop")
    assert list(events(again, "certificate_ordered")) == []


@MOSTLY_ONE
def test_a_ca_that_hangs_delays_neither_visitors_nor_the_end_of_the_server(site: tuple[World, Pebble], origin: HttpOrigin) -> None:
    world, ca = site
    server = world.start_server()
    agent = world.agent(world.token("laptop", "--hosts", "shop"), "http", str(origin.port), "--name", "shop")
    ca.program.signal(signal.SIGSTOP)
    try:
        event(agent, "tunnel_up")
        event(server, "certificate_ordered")
        for _ in range(20):
            started = time.monotonic()
            assert b"200 OK" in plain(world, "shop")
            assert time.monotonic() - started < 1
        stopped = time.monotonic()
        assert server.stop(10).code == 0
        assert time.monotonic() - stopped < 5
    finally:
        ca.program.signal(signal.SIGCONT)
    up(world.start_server(), "shop")
    assert b"200 OK" in served(world, ca, "shop")
