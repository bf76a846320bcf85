"""Visitors cannot take the descriptors that agents need, nor all of those that other tunnels' visitors need."""

import json
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

import pytest

from tests.e2e.world import Answer, World, event
from tests.kit.origins import RawOrigin, echo

DESCRIPTORS = 256
"""Of the server; at a limit so low, half of them are kept from visitors."""

FLOOD = 400
"""Visitors who come and stay: more than the server has descriptors."""

CROWDED = ("sh", "-c", f'ulimit -n {DESCRIPTORS} && exec "$@"', "sh")


@pytest.fixture
def world() -> Iterator[World]:
    with World(server_before=CROWDED) as world:
        world.start_server()
        yield world


@contextmanager
def flood(port: int) -> Iterator[list[socket.socket]]:
    """Visitors who connect, say a word, and stay."""
    with ExitStack() as stack:
        visitors = []
        for _ in range(FLOOD):
            visitor = stack.enter_context(socket.socket())
            visitor.settimeout(10)
            with suppress(OSError):  # reset already: there is no place
                visitor.connect(("127.0.0.1", port))
                visitor.send(b"G")
            visitors.append(visitor)
        yield visitors


def served(visitor: socket.socket) -> bool:
    """Return whether the echo behind the tunnel answers this visitor."""
    try:
        return visitor.recv(1) == b"G"
    except OSError:
        return False


@pytest.mark.parametrize("kind", ["tcp", "http"])
def test_visitors_of_one_tunnel_cannot_keep_another_agent_from_logging_in(world: World, kind: str) -> None:
    with RawOrigin(echo) as origin:
        join = world.token()
        crowded = world.agent(join, kind, str(origin.port), *(("--name", "crowd") if kind == "http" else ()))
        up = event(crowded, "tunnel_up")
        with flood(world.http_port if kind == "http" else up["port"]):
            late = world.agent(world.token("late"), "tcp", str(origin.port), data="late")
            port = event(late, "tunnel_up")["port"]

            assert world.call(port, b"hello") == b"hello", "the other tunnel's visitors have places, too"


def test_the_operator_sees_how_many_were_turned_away_in_few_lines(world: World) -> None:
    with RawOrigin(echo) as origin:
        agent = world.agent(world.token(), "tcp", str(origin.port))
        up = event(agent, "tunnel_up")
        with flood(up["port"]) as visitors:
            taken_in = sum(map(served, visitors))
            told = event(world.programs[0], "visitors_turned_away")
            status = json.loads(world.run("status", "--json").out)[0]

        assert 20 <= taken_in < DESCRIPTORS / 2, taken_in
        assert told["last"] == f"tcp port {up['port']}"
        assert status["program"] == "server"
        assert status["visitors_turned_away"] >= 1
        lines = [line for line in world.programs[0].out.lines if "visitors_turned_away" in line]
        assert len(lines) <= 3, lines
        assert soon_called(world, up["port"]), "places come free again"


def soon_called(world: World, port: int) -> bool:
    """Return whether a visitor is served within a few seconds."""
    until = time.monotonic() + 10
    while time.monotonic() < until:
        try:
            return world.call(port, b"again") == b"again"
        except OSError:
            time.sleep(0.05)
    return False


def test_an_http_visitor_without_a_place_is_told_the_truth(world: World) -> None:
    agent = world.agent(world.token(), "http", "1", "--name", "crowd")
    event(agent, "tunnel_up")
    with flood(world.http_port):
        answer = told_at_last(world)

    assert (answer.status, answer.error) == (503, "overloaded")
    assert answer.retry_after


def told_at_last(world: World) -> Answer:
    """Visit until there is an answer: only a few at a time are told, and the flood's silent ones come first."""
    until = time.monotonic() + 15
    while True:
        try:
            return world.visit("crowd")
        except ConnectionError:
            assert time.monotonic() < until, "nobody is told"
            time.sleep(0.05)
