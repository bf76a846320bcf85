"""Visitors cannot take the descriptors that agents need, nor agents those of visitors, nor one tunnel or token all of its kind."""

import json
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

import pytest

from portway.protocol.join_string import JoinString
from tests.e2e.world import Answer, World, event
from tests.kit.blocking_link import BlockingLink, LinkError, agent_context, open_link
from tests.kit.origins import RawOrigin, echo, report_after_end

DESCRIPTORS = 256
"""Of the server; at a limit so low, half of them are kept from visitors."""

FLOOD = 400
"""Visitors that connect and stay: more than the server has descriptors."""

CROWDED = ("sh", "-c", f'ulimit -n {DESCRIPTORS} && exec "$@"', "sh")


@pytest.fixture
def world() -> Iterator[World]:
    with World(server_before=CROWDED) as world:
        world.start_server()
        yield world


@contextmanager
def flood(port: int, word: bytes = b"G") -> Iterator[list[socket.socket]]:
    """Connect visitors that send `word` and stay."""
    with ExitStack() as stack:
        visitors = []
        for _ in range(FLOOD):
            visitor = stack.enter_context(socket.socket())
            visitor.settimeout(10)
            with suppress(OSError):  # reset already: no capacity
                visitor.connect(("127.0.0.1", port))
                visitor.send(word)
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


VISITORS_AT_LEAST = 32
"""All are admitted at a limit of 256, whatever agents hold, and stay whatever they do: a quarter is reserved, one tunnel may use
three quarters of it, and below three quarters of that none is shed."""


def fill_with_links(world: World, join: JoinString, stack: ExitStack) -> tuple[int, str]:
    """Log in again and again until no more links are taken; return how many were, and the last one's error."""
    for number in range(DESCRIPTORS):
        link = stack.enter_context(open_link(join))
        try:
            link.log_in(join, str(number).encode().ljust(32, b"."))
        except LinkError as exc:
            return number, str(exc)
    raise AssertionError("every link was taken")


def test_idle_links_leave_capacity_for_visitors_and_other_tokens(world: World) -> None:
    with RawOrigin(echo) as origin, ExitStack() as stack:
        agent = world.agent(world.token(), "tcp", str(origin.port))
        port = event(agent, "tunnel_up")["port"]
        taken, told = fill_with_links(world, world.token("hoarder"), stack)

        assert 40 < taken < DESCRIPTORS - VISITORS_AT_LEAST
        assert "too_many_logins" in told, told
        assert "ulimit -n" in told, "it says what an operator can do"
        visitors = [stack.enter_context(socket.create_connection(("127.0.0.1", port), 10)) for _ in range(VISITORS_AT_LEAST)]
        for visitor in visitors:
            visitor.send(b"G")
        assert [served(visitor) for visitor in visitors] == [True] * VISITORS_AT_LEAST
        late = world.agent(world.token("late"), "tcp", str(origin.port), data="late")
        assert world.call(event(late, "tunnel_up")["port"], b"hello") == b"hello", "an agent of another token is let in"


def test_links_without_a_login_leave_capacity_for_visitors_and_agents(world: World) -> None:
    with RawOrigin(echo) as origin, ExitStack() as stack:
        agent = world.agent(world.token(), "tcp", str(origin.port))
        port = event(agent, "tunnel_up")["port"]
        context = agent_context()
        for number in range(DESCRIPTORS):
            with suppress(OSError):  # refused, or made way for another source
                stack.enter_context(BlockingLink("127.0.0.1", world.agents_port, source=f"127.0.1.{number % 32 + 1}", context=context))

        visitors = [stack.enter_context(socket.create_connection(("127.0.0.1", port), 10)) for _ in range(VISITORS_AT_LEAST)]
        for visitor in visitors:
            visitor.send(b"G")
        assert [served(visitor) for visitor in visitors] == [True] * VISITORS_AT_LEAST
        late = world.agent(world.token("late"), "tcp", str(origin.port), data="late")
        assert world.call(event(late, "tunnel_up")["port"], b"hello") == b"hello"
        assert "Too many open files" not in "\n".join(world.programs[0].err.lines)


def test_rejected_visitors_are_reported_in_few_lines(world: World) -> None:
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


def test_a_rejected_http_visitor_gets_503(world: World) -> None:
    with RawOrigin(report_after_end) as origin:
        agent = world.agent(world.token(), "http", str(origin.port), "--name", "crowd")
        event(agent, "tunnel_up")
        with flood(world.http_port, b"GET / HTTP/1.1\r\nHost: crowd.localhost\r\n\r\n"):  # a visitor that waits for an answer is not shed
            answer = told_at_last(world)

    assert (answer.status, answer.error) == (503, "overloaded")
    assert answer.retry_after


def told_at_last(world: World) -> Answer:
    """Visit until there is an answer: only a few get a 503 at a time, the flood's silent ones first."""
    until = time.monotonic() + 15
    while True:
        try:
            return world.visit("crowd")
        except ConnectionError:
            assert time.monotonic() < until, "nobody is told"
            time.sleep(0.05)
