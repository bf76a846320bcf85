"""What goes wrong with a server's data directory, and what must go on all the same."""

import time
from collections.abc import Iterator

import pytest

from portway.server.store import FILE
from tests.e2e.world import World, event
from tests.kit.http_origin import HttpOrigin
from tests.kit.locked_database import locked

OK = b"hello from origin\n"


@pytest.fixture
def world() -> Iterator[World]:
    with World() as world:
        yield world


@pytest.fixture
def origin() -> Iterator[HttpOrigin]:
    with HttpOrigin() as origin:
        yield origin


@pytest.mark.parametrize("workers", [1, 2])
def test_visitors_are_served_while_another_process_keeps_the_database_locked(workers: int, world: World, origin: HttpOrigin) -> None:
    server = world.start_server("--workers", str(workers))
    join = world.token()
    agent = world.agent(join, "http", str(origin.port), "--name", "blog")
    event(agent, "tunnel_up")
    assert world.visit("blog").body == OK
    with locked(world.server_data / FILE):
        late = world.agent(join, "http", str(origin.port), "--name", "late")
        late.expect('"event":"connecting"')
        # SQLite waits for 10 s in such a case: a server that waits for it answers nobody meanwhile.
        until, slowest = time.monotonic() + 2.0, 0.0
        while time.monotonic() < until:
            answer = world.visit("blog")
            assert (answer.status, answer.body) == (200, OK)
            slowest = max(slowest, answer.seconds)
            time.sleep(0.05)
        assert slowest < 1.5
        assert "tunnel_up" not in "\n".join(late.out.lines)
    event(late, "tunnel_up")
    assert world.visit("late").body == OK
    assert world.run("token", "revoke", "laptop", "--data", world.server_data).code == 0
    for one in (agent, late):
        assert one.wait().code == 3
    assert server.running
