"""The demo uses the default ports if they are free, and others otherwise."""

import socket
from collections.abc import Iterator

import pytest

from portway.demo.ports import DemoPorts, free_ports, is_free


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        yield sock


def test_a_port_with_a_listener_is_not_free(listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    assert not is_free(port)
    listener.close()
    assert is_free(port)


def test_a_listener_on_ipv6_only_counts() -> None:
    with socket.socket(socket.AF_INET6) as sock:
        try:
            sock.bind(("::1", 0))
        except OSError:
            pytest.skip("this machine has no IPv6")
        sock.listen()
        assert not is_free(sock.getsockname()[1])


def test_a_busy_port_is_skipped(listener: socket.socket) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        next_port = other.getsockname()[1]
    busy = listener.getsockname()[1]
    ports = free_ports([busy, next_port], busy)
    assert (ports.http, ports.agents) == (next_port, 0)


def test_if_all_are_busy_the_kernel_chooses(listener: socket.socket) -> None:
    assert free_ports([listener.getsockname()[1]]).http == 0


def test_only_the_servers_own_ports_are_the_default() -> None:
    assert DemoPorts(8080, 4443, 0).is_default
    assert not DemoPorts(8081, 4443, 8443).is_default
    assert not DemoPorts(8080, 0, 8443).is_default
