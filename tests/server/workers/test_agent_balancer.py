"""Agent connections are assigned unread: by their hint, otherwise to the least loaded worker."""

import socket
from collections.abc import Iterator

import pytest

from portway.engine.listener import Address, listen
from portway.links.worker_hint import hint_for
from portway.server.workers import agent_balancer as balancer_module
from portway.server.workers.agent_balancer import AgentBalancer
from tests.kit.loops import EngineLoop
from tests.links.test_worker_hint import client_hello, plain_start


class Table:
    """A balancer, and its assignments."""

    def __init__(self, engine: EngineLoop) -> None:
        self.engine = engine
        self.sessions = {1: 0, 2: 0, 3: 0}
        self.gone: set[int] = set()
        self.dealt: list[int] = []
        self.socks: list[socket.socket] = []
        self.agents: list[socket.socket] = []
        self.balancer = AgentBalancer(engine.reactor, listen("127.0.0.1", 0), lambda: dict(self.sessions), self._send_to)

    def _send_to(self, worker: int, sock: socket.socket, address: Address) -> bool:
        if worker in self.gone:
            return False
        assert address == sock.getpeername()
        self.dealt.append(worker)
        self.socks.append(sock)
        return True

    def agent(self, first: bytes = b"", source: str = "127.0.0.1") -> socket.socket:
        """Dial, and send `first`."""
        agent = socket.create_connection(self.balancer.address, source_address=(source, 0))
        agent.settimeout(5)
        self.agents.append(agent)
        if first:
            agent.sendall(first)
        return agent

    def dealt_now(self, count: int = 1) -> list[int]:
        """Return the workers that got the next ones."""
        self.engine.run_until(lambda: len(self.dealt) >= count, what="a deal")
        dealt, self.dealt = self.dealt, []
        return dealt

    def close(self) -> None:
        self.balancer.close()
        for sock in (*self.socks, *self.agents):
            sock.close()


@pytest.fixture
def table(engine: EngineLoop) -> Iterator[Table]:
    table = Table(engine)
    yield table
    table.close()


@pytest.mark.parametrize("start", [client_hello, plain_start])
def test_a_further_link_comes_to_its_sessions_worker_unread(table: Table, start: object) -> None:
    assert callable(start)
    first = start(hint_for(2))
    table.sessions[2] = 100
    table.agent(first)

    assert table.dealt_now() == [2]
    assert table.socks[0].recv(8192) == first


def test_a_hint_is_waited_for_when_it_comes_in_pieces(table: Table) -> None:
    first = client_hello(hint_for(3))
    agent = table.agent(first[:-1])
    table.engine.settle()
    assert table.dealt == []
    agent.sendall(first[-1:])

    assert table.dealt_now() == [3]


def test_logins_go_to_the_least_loaded_and_pending_ones_count(table: Table) -> None:
    for _ in range(6):
        table.agent(client_hello(""))
    assert sorted(table.dealt_now(6)) == [1, 1, 2, 2, 3, 3]

    table.sessions = {1: 9, 2: 9, 3: 0}
    for _ in range(3):
        table.agent(plain_start(""))
    assert table.dealt_now(3) == [3, 3, 3]


@pytest.mark.parametrize("hint", [hint_for(2), hint_for(77), ""])
def test_a_worker_that_is_gone_gets_nothing_whatever_the_hint_says(table: Table, hint: str) -> None:
    table.gone = {2}
    del table.sessions[1]
    table.agent(client_hello(hint))

    assert table.dealt_now() == [3]


def test_without_workers_a_connection_is_closed(table: Table) -> None:
    table.sessions = {}
    agent = table.agent(client_hello(""))
    table.engine.run_until(lambda: not table.balancer._peeks, what="the peek")
    table.engine.settle()

    with pytest.raises(ConnectionResetError):
        agent.recv(1)


def test_a_silent_agent_is_assigned_after_a_while(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(balancer_module, "PEEK_S_MAX", 0.1)
    table.agent()

    assert table.dealt_now() == [1]


def test_an_agent_that_leaves_at_once_is_assigned_too(table: Table) -> None:
    table.agent().close()

    assert table.dealt_now() == [1]


def test_peeks_are_bounded(engine: EngineLoop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(balancer_module, "PEEKS_MAX", 1)
    table = Table(engine)
    table.agent()
    table.engine.settle()
    table.agent()

    assert len(table.dealt_now()) == 1
    table.balancer.close()
    table.engine.settle()
    with pytest.raises(ConnectionResetError):
        table.agents[0].recv(1)
    table.close()


def test_a_crowd_of_silent_connections_does_not_hide_a_hint(engine: EngineLoop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(balancer_module, "PEEKS_MAX", 3)
    table = Table(engine)
    table.sessions = {1: 0, 2: 100}
    for _ in range(3):
        table.agent(source="127.0.0.2")
    engine.settle()
    agent = table.agent()
    engine.settle()
    assert table.dealt_now() == [1], "one of the crowd goes on by load"
    agent.sendall(client_hello(hint_for(2)))
    assert table.dealt_now() == [2]
    table.close()
