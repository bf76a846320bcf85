"""An agent that is frozen, or gone in the middle of a request, is away: no visitor gets an error that blames the server's load,
or a crash of the origin."""

import signal
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.e2e.world import Answer, World, event
from tests.kit.origins import RawOrigin
from tests.kit.programs import Program

AWAY = (503, "agent_offline")


class SlowOrigin(RawOrigin):
    """An HTTP origin that answers `/slow` when released, and everything else at once."""

    def __init__(self) -> None:
        self.asked = threading.Semaphore(0)
        self.go_on = threading.Event()
        super().__init__(self._answer)

    def _answer(self, sock: socket.socket) -> None:
        while data := sock.recv(65536):
            if b" /slow " in data.partition(b"\r\n")[0]:
                self.asked.release()
                self.go_on.wait(60)
            sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")


@pytest.fixture
def origin() -> Iterator[SlowOrigin]:
    with SlowOrigin() as origin:
        yield origin
        origin.go_on.set()


def outcome(answer: Answer) -> tuple[int, str]:
    return answer.status, answer.error


def ask(world: World, method: str, path: str) -> tuple[int, str]:
    return outcome(world.visit("blog", path, method=method, body=b"x" * 100 if method == "POST" else None, deadline_s=40))


def freeze(agent: Program) -> None:
    agent.signal(signal.SIGSTOP)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_visitors_of_a_frozen_agent_get_agent_offline(origin: SlowOrigin, workers: str) -> None:
    with World(server_flags=("--workers", workers)) as world, ThreadPoolExecutor(16) as visitors:
        world.start_server()
        agent = world.agent(world.token(), "http", str(origin.port), "--name", "blog")
        event(agent, "tunnel_up")
        assert ask(world, "GET", "/") == (200, "")  # a connection to the origin is kept from now on
        waiting = [visitors.submit(ask, world, method, "/slow") for method in ("GET", "POST")]
        for _ in waiting:
            assert origin.asked.acquire(timeout=10)

        freeze(agent)

        came = [visitors.submit(ask, world, method, "/") for method in ("GET", "GET", "POST", "PUT", "DELETE", "POST")]
        outcomes = [visit.result() for visit in (*waiting, *came)]
        assert outcomes == [AWAY] * len(outcomes)
        assert ask(world, "GET", "/") == AWAY
        agent.kill()


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_an_agent_killed_during_a_request_is_offline(origin: SlowOrigin, method: str) -> None:
    with World() as world, ThreadPoolExecutor(1) as visitors:
        world.start_server()
        agent = world.agent(world.token(), "http", str(origin.port), "--name", "blog")
        event(agent, "tunnel_up")
        waiting = visitors.submit(ask, world, method, "/slow")
        assert origin.asked.acquire(timeout=10)
        agent.kill()
        assert waiting.result() == AWAY


def test_a_repeatable_request_is_retried_when_its_agent_is_back_soon(origin: SlowOrigin) -> None:
    with World(server_flags=("--hold", "20s")) as world, ThreadPoolExecutor(1) as visitors:
        server = world.start_server()
        join = world.token()
        agent = world.agent(join, "http", str(origin.port), "--name", "blog")
        event(agent, "tunnel_up")
        waiting = visitors.submit(ask, world, "GET", "/slow")
        assert origin.asked.acquire(timeout=10)
        agent.kill()
        event(server, "session_down")
        origin.go_on.set()
        event(world.agent(join, "http", str(origin.port), "--name", "blog"), "tunnel_up")
        assert waiting.result() == (200, "")
