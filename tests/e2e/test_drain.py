"""A stopping agent finishes running requests; it is away afterwards, and gets its address back when started again."""

import signal
import socket
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from tests.e2e.test_frozen_agent import AWAY, SlowOrigin, ask
from tests.e2e.world import World, event, events
from tests.kit.origins import RawOrigin, echo
from tests.kit.programs import Program

OK = (200, "")


@pytest.fixture
def origin() -> Iterator[SlowOrigin]:
    with SlowOrigin() as origin:
        yield origin
        origin.go_on.set()


@pytest.fixture(params=["1", "2"], ids=["one process", "workers"])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    with World(server_flags=("--workers", request.param)) as world:
        world.start_server()
        yield world


def blog(world: World, origin: SlowOrigin, *flags: str) -> Program:
    if not world.token_ids:
        world.join = world.token()  # type: ignore[attr-defined]
    agent = world.agent(world.join, "http", str(origin.port), "--name", "blog", *flags)  # type: ignore[attr-defined]
    event(agent, "tunnel_up")
    return agent


def begin(world: World, origin: SlowOrigin, visitors: ThreadPoolExecutor, method: str = "GET") -> "Future[tuple[int, str]]":
    """Send a request that its origin has got and not answered."""
    waiting = visitors.submit(ask, world, method, "/slow")
    assert origin.asked.acquire(timeout=10)
    return waiting


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_running_request_finishes_and_new_ones_get_agent_offline(world: World, origin: SlowOrigin, method: str) -> None:
    with ThreadPoolExecutor(4) as visitors:
        agent = blog(world, origin)
        assert ask(world, "GET", "/") == OK  # whose connection to the origin is kept, and must not be waited for
        waiting = begin(world, origin, visitors, method)

        agent.signal(signal.SIGINT)

        agent.expect("stopping: waiting up to")
        assert ask(world, "GET", "/") == AWAY
        origin.go_on.set()
        assert waiting.result() == OK
        assert agent.wait(5).code == 0
        assert ask(world, "GET", "/") == AWAY


def test_an_agent_whose_connections_are_all_idle_stops_at_once(world: World, origin: SlowOrigin) -> None:
    agent = blog(world, origin, "--drain", "60s")
    for _ in range(5):
        assert ask(world, "GET", "/") == OK
    agent.signal(signal.SIGTERM)
    assert agent.wait(10).code == 0


def test_visitors_of_a_restarted_agent_are_held(world: World, origin: SlowOrigin) -> None:
    agent = blog(world, origin)
    agent.signal(signal.SIGTERM)
    assert agent.wait(5).code == 0
    with ThreadPoolExecutor(4) as visitors:
        early = [visitors.submit(ask, world, method, "/") for method in ("GET", "POST")]
        blog(world, origin)
        assert [visit.result() for visit in early] == [OK, OK]


def test_requests_that_do_not_finish_in_time_get_agent_offline(world: World, origin: SlowOrigin) -> None:
    with ThreadPoolExecutor(4) as visitors:
        agent = blog(world, origin, "--drain", "1s")
        waiting = [begin(world, origin, visitors, method) for method in ("GET", "POST")]
        agent.signal(signal.SIGTERM)
        assert agent.wait(8).code == 0
        assert [visit.result() for visit in waiting] == [AWAY, AWAY]
        assert any("did not finish in time" in told["text"] for told in events(agent, "notice"))


def test_a_second_signal_ends_it_at_once(world: World, origin: SlowOrigin) -> None:
    with ThreadPoolExecutor(4) as visitors:
        agent = blog(world, origin, "--drain", "60s")
        waiting = begin(world, origin, visitors, "POST")
        agent.signal(signal.SIGINT)
        agent.expect("stop again to end them now")
        agent.signal(signal.SIGINT)
        assert agent.wait(5).code == 1
        assert waiting.result() == AWAY


def test_a_tcp_connection_finishes_and_its_port_is_free(world: World) -> None:
    with RawOrigin(echo) as origin:
        agent = world.agent(world.token(), "tcp", str(origin.port))
        port = event(agent, "tunnel_up")["port"]
        with socket.create_connection(("127.0.0.1", port), timeout=20) as visitor:
            visitor.sendall(b"first")
            assert visitor.recv(9) == b"first"
            agent.signal(signal.SIGTERM)
            agent.expect("stopping: waiting up to")
            visitor.sendall(b"second")
            assert visitor.recv(9) == b"second"
            other = world.agent(world.token("other"), "tcp", str(origin.port), "--port", str(port), data="other")
            assert event(other, "tunnel_up")["port"] == port
            assert world.call(port, b"of the other one") == b"of the other one"
            visitor.sendall(b"third")
            assert visitor.recv(9) == b"third"
            visitor.shutdown(socket.SHUT_WR)
            assert visitor.recv(9) == b""
        assert agent.wait(5).code == 0


def test_a_token_with_one_tunnel_gets_another_right_after_the_last_one(world: World, origin: SlowOrigin) -> None:
    join = world.token("one", "--max-tunnels", "1")
    for name in ("first", "second", "third"):
        agent = world.agent(join, "http", str(origin.port), "--name", name)
        event(agent, "tunnel_up")
        agent.signal(signal.SIGTERM)
        assert agent.wait(5).code == 0


def test_the_name_of_a_stopped_agent_is_free(world: World, origin: SlowOrigin) -> None:
    blog(world, origin).stop()
    heir = world.agent(world.token("heir"), "http", str(origin.port), "--name", "blog", data="heir")
    event(heir, "tunnel_up")
    assert ask(world, "GET", "/") == OK
