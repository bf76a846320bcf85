"""An origin that vanishes silently (power loss, a moved container) is noticed, and its visitors get an error."""

import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.e2e.silence import FarNetwork, can_make_networks, far_network
from tests.e2e.world import World, event
from tests.kit.altered import altered
from tests.kit.programs import Program

HURRIED = altered(portway__engine__keepalive__KEEPALIVE={"TCP_KEEPIDLE": 1, "TCP_KEEPINTVL": 1, "TCP_KEEPCNT": 2})
"""Three seconds instead of four minutes."""

ECHO = """
import socket, sys, threading
listener = socket.create_server((sys.argv[1], 0))
print(listener.getsockname()[1], flush=True)
def serve(sock):
    while data := sock.recv(65536):
        sock.sendall(b"HTTP/1.1 103 Early Hints\\r\\n\\r\\n" if data.startswith(b"GET") else data)
while True:
    threading.Thread(target=serve, args=listener.accept()[:1], daemon=True).start()
"""
"""Sends everything back; over HTTP it announces an answer, and sends no more."""


@contextmanager
def far_origin(network: FarNetwork) -> Iterator[str]:
    with Program([*network.inside, sys.executable, "-c", ECHO, network.far]) as origin:
        yield f"{network.far}:{origin.first_line()}"


@pytest.fixture
def network() -> Iterator[FarNetwork]:
    if not can_make_networks():
        pytest.skip("needs root, ip and iptables")
    with far_network() as network:
        yield network


def test_a_tcp_visitor_is_reset_when_the_origin_has_vanished(network: FarNetwork) -> None:
    with World() as world, far_origin(network) as target:
        world.start_server()
        agent = world.agent(world.token(), "tcp", target, before=HURRIED)
        with socket.create_connection(("127.0.0.1", event(agent, "tunnel_up")["port"]), timeout=20) as visitor:
            visitor.sendall(b"hello")
            assert visitor.recv(9) == b"hello"
            network.filter_packets("-A")
            with pytest.raises(ConnectionResetError):
                visitor.recv(9)
        assert event(agent, "relay_done")["reason"] == "the origin broke the connection"


def test_an_http_visitor_gets_502_when_the_origin_has_vanished(network: FarNetwork) -> None:
    with World() as world, far_origin(network) as target:
        world.start_server()
        agent = world.agent(world.token(), "http", target, "--name", "blog", before=HURRIED)
        event(agent, "tunnel_up")
        with socket.create_connection(("127.0.0.1", world.http_port), timeout=20) as visitor:
            visitor.sendall(f"GET / HTTP/1.1\r\nHost: blog.localhost:{world.http_port}\r\n\r\n".encode())
            assert visitor.recv(65536).startswith(b"HTTP/1.1 103 ")
            network.filter_packets("-A")
            assert visitor.recv(65536).startswith(b"HTTP/1.1 502 ")
