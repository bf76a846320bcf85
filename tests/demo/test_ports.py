"""The demo takes the usual ports where they are free, and gives way to whoever is there."""

import socket
from collections.abc import Iterator

import pytest

from portway.demo.ports import DemoPorts, free_ports, is_free


@pytest.fixture
def taken() -> Iterator[socket.socket]:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        yield sock


def test_a_port_with_a_listener_is_not_free(taken: socket.socket) -> None:
    port = taken.getsockname()[1]
    assert not is_free(port)
    taken.close()
    assert is_free(port)


def test_a_stranger_on_ipv6_alone_counts_too() -> None:
    with socket.socket(socket.AF_INET6) as sock:
        try:
            sock.bind(("::1", 0))
        except OSError:
            pytest.skip("this machine has no IPv6")
        sock.listen()
        assert not is_free(sock.getsockname()[1])


def test_a_busy_usual_port_makes_room_for_the_next(taken: socket.socket) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        next_port = other.getsockname()[1]
    busy = taken.getsockname()[1]
    assert free_ports([busy, next_port], busy) == DemoPorts(next_port, 0)


def test_when_all_are_busy_the_system_chooses(taken: socket.socket) -> None:
    assert free_ports([taken.getsockname()[1]]).http == 0


def test_only_the_ports_of_every_manual_are_the_usual_ones() -> None:
    assert DemoPorts(8080, 4443).usual
    assert not DemoPorts(8081, 4443).usual
    assert not DemoPorts(8080, 0).usual
