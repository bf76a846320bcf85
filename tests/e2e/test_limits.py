"""Limits with real programs, from the command line to the JSON lines of both ends."""

import json
import socket
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.e2e.world import World, event
from tests.kit.origins import RawOrigin, echo
from tests.kit.sockets import read_to_end

HELLO = b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n" + bytes(5000)


@pytest.fixture
def world() -> Iterator[World]:
    with World() as world:
        yield world


def answer(sock: socket.socket) -> None:
    """Answer every request with five thousand bytes."""
    asked = b""
    while data := sock.recv(1 << 16):
        asked += data
        while b"\r\n\r\n" in asked:
            asked = asked.partition(b"\r\n\r\n")[2]
            sock.sendall(HELLO)


def ways(told: dict[str, Any]) -> list[tuple[int, str]]:
    return [(told[way]["total_bytes"], told[way]["shutdown_reason"]) for way in ("forward", "backward")]


def test_a_tcp_connection_with_its_payload_used_up_is_one_event_at_both_ends(world: World) -> None:
    with RawOrigin(echo) as origin:
        server = world.start_server()
        agent = world.agent(world.token("laptop", "--max-total-payload", "100"), "tcp", str(origin.port))
        port = event(agent, "tunnel_up")["port"]
        with socket.create_connection(("127.0.0.1", port), timeout=20) as visitor:
            visitor.sendall(bytes(60))
            got = 0
            with pytest.raises(ConnectionResetError):
                while piece := visitor.recv(1000):
                    got += len(piece)
        assert got == 40
        here, there = event(server, "relay_done", deadline_s=30), event(agent, "relay_done", deadline_s=30)
        assert ways(here) == [(60, "payload"), (40, "payload")]
        assert here["relay"] == there["relay"]
        assert (here["port"], here["visitor"], there["kind"]) == (port, None, "tcp")
        assert "127.0.0.1" not in json.dumps(here)
        agent.stop()
        server.stop()


def test_http_requests_are_reported_at_both_ends_and_limited_by_their_token(world: World) -> None:
    with RawOrigin(answer) as origin:
        server = world.start_server("--log-visitors")
        agent = world.agent(world.token("laptop", "--max-total-payload", "5001"), "http", str(origin.port), "--name", "app")
        event(agent, "tunnel_up")
        assert len(world.visit("app").body) == 5000
        refused = world.visit("app", method="POST", body=bytes(5002))
        assert (refused.status, refused.error) == (413, "body_too_large")
        with pytest.raises(ConnectionResetError):
            world.visit("app", method="POST", body=b"ab")
        fine, too_long, cut = (event(server, "request_done", number, deadline_s=30) for number in (1, 2, 3))
        assert (fine["method"], fine["status"], ways(fine)) == ("GET", 200, [(0, "ended"), (5000, "ended")])
        assert fine["visitor"] == "127.0.0.1", "as it was asked for"
        assert (too_long["status"], too_long["why"], ways(too_long)) == (413, "body_too_large", [(0, "payload"), (0, "payload")])
        assert (cut["status"], ways(cut)) == (200, [(2, "ended"), (4999, "payload")])
        there = event(agent, "relay_done", deadline_s=30)
        assert there["kind"] == "http"
        assert there["relay"] in {fine["relay"], cut["relay"]}
        assert event(agent, "request_line")["status"] == 200
        agent.stop()
        server.stop()


def test_an_http_tunnel_may_have_limits_of_its_own(world: World) -> None:
    """The agent sends them, the server enforces them: only the server separates requests."""
    with RawOrigin(answer) as origin:
        server = world.start_server()
        agent = world.agent(world.token(), "http", str(origin.port), "--name", "app", "--max-total-payload", "5kb", "--bandwidth", "1mb")
        event(agent, "tunnel_up")
        assert len(world.visit("app").body) == 5000
        refused = world.visit("app", method="POST", body=bytes(5001))
        assert (refused.status, refused.error) == (413, "body_too_large")
        agent.stop()
        server.stop()


def answer_late(sock: socket.socket) -> None:
    """Never answer `/silent`; answer other requests after four `102 Processing`."""
    asked = sock.recv(1 << 16)
    if asked.startswith(b"GET /silent"):
        sock.recv(1)
        return
    for _ in range(4):
        time.sleep(0.3)
        sock.sendall(b"HTTP/1.1 102 Processing\r\n\r\n")
    sock.sendall(HELLO)


def test_an_origin_timeout_ends_silent_requests_only(world: World) -> None:
    with RawOrigin(answer_late) as origin:
        server = world.start_server()
        agent = world.agent(world.token("laptop"), "http", str(origin.port), "--name", "app", "--origin-timeout", "800ms")
        url = urlsplit(event(agent, "tunnel_up")["url"])
        for path, status in (("/silent", b"504"), ("/at-work", b"200")):
            with socket.create_connection(("127.0.0.1", url.port or 80), timeout=20) as visitor:
                visitor.sendall(f"GET {path} HTTP/1.1\r\nHost: {url.netloc}\r\nConnection: close\r\n\r\n".encode())
                said = read_to_end(visitor)
            finals = [line for line in said.split(b"\r\n") if line.startswith(b"HTTP/1.1 ") and b" 102 " not in line]
            assert [line.split()[1] for line in finals] == [status], said[:300]
        agent.stop()
        server.stop()
