"""A tcp tunnel's port is served by its session's worker, or by any while the session is offline."""

import socket
from dataclasses import dataclass, field

import pytest

from portway.edge.lease import Lease, LeaseKey, Owner
from portway.server.workers.port_listeners import PortListeners
from tests.kit.sockets import free_port


@dataclass
class PortAssigner:
    """Records assignments."""

    there: list[int] = field(default_factory=lambda: [1, 2])
    at: int = 0
    told: list[str] = field(default_factory=list)

    def worker_of(self, lease: Lease) -> int:
        return self.at

    def any_worker(self) -> int:
        return self.there[0] if self.there else 0

    def assign(self, worker: int, lease: Lease, listener: socket.socket) -> bool:
        if worker in self.there:
            self.told.append(f"{worker} listens")
        return worker in self.there

    def unassign(self, worker: int, lease: Lease) -> None:
        self.told.append(f"{worker} does not")


def opened(assigner: PortAssigner) -> tuple[PortListeners, Lease]:
    lease = Lease(LeaseKey("tcp", str(free_port())), Owner("t", b"i"))
    ports = PortListeners(lambda port: socket.create_server(("127.0.0.1", port)), assigner)
    ports.open(lease)
    return ports, lease


def test_a_port_is_where_its_session_is_and_stays_while_that_is_away() -> None:
    assigner = PortAssigner(at=2)
    ports, lease = opened(assigner)
    assigner.at = 0
    ports.place(lease)
    assigner.at = 2
    ports.open(lease)
    assert assigner.told == ["2 listens"]

    assigner.at = 1
    ports.place(lease)
    assert assigner.told == ["2 listens", "1 listens", "2 does not"]
    ports.close_all()


def test_the_port_of_a_dead_worker_goes_to_any_other_or_waits() -> None:
    assigner = PortAssigner(at=2)
    ports, lease = opened(assigner)
    assigner.at, assigner.there = 0, []
    ports.on_lost(2)
    assert assigner.told == ["2 listens"]
    with socket.create_connection(("127.0.0.1", int(lease.address))):
        assigner.there = [3]
        ports.place_all()
        ports.place_all()
    assert assigner.told == ["2 listens", "3 listens"]
    ports.close_all()


def test_a_closed_port_refuses_and_is_closed_once() -> None:
    ports, lease = opened(PortAssigner())
    assert len(ports) == 1
    ports.close(lease)
    ports.close(lease)
    ports.place(lease)

    assert len(ports) == 0
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", int(lease.address)))


def test_a_port_that_cannot_be_opened_is_reported() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        lease = Lease(LeaseKey("tcp", str(other.getsockname()[1])), Owner("t", b"i"))
        with pytest.raises(OSError, match="in use"):
            PortListeners(lambda port: socket.create_server(("127.0.0.1", port), reuse_port=False), PortAssigner()).open(lease)
