"""The emulated network path: delay, shared rate, forwarded ends and resets."""

import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from bench.errors import BenchError
from bench.load.wan_link import PIECE_BYTES, Direction, HalfConnection, listen
from bench.processes import Processes
from bench.systems.links import LocalLinks, NetworkPath, WanLinks, own_loopback

PATH = NetworkPath(rtt_s=0.1, rate_bits_per_s=80e6)
WAIT_S = 5


@dataclass(frozen=True, slots=True)
class Ends:
    """Both ends of one connection over the path."""

    near: socket.socket
    far: socket.socket


@pytest.fixture
def ends(tmp_path: Path) -> Iterator[Ends]:
    with Processes(tmp_path / "line") as processes, listen("127.0.0.1", 0) as server:
        host, port = WanLinks(PATH, processes).dial(server.getsockname()[1])
        server.settimeout(WAIT_S)
        with socket.create_connection((host, port), timeout=WAIT_S) as near:
            far, _ = server.accept()
            far.settimeout(WAIT_S)
            with far:
                yield Ends(near, far)


def test_a_byte_takes_half_a_round_trip_each_way(ends: Ends) -> None:
    start = time.monotonic()
    ends.near.sendall(b"ping")
    assert ends.far.recv(10) == b"ping"
    there_s = time.monotonic() - start
    ends.far.sendall(b"pong")
    assert ends.near.recv(10) == b"pong"

    assert there_s >= PATH.rtt_s / 2
    assert time.monotonic() - start >= PATH.rtt_s


def test_all_bytes_arrive_in_order_and_not_before_the_rate_allows(ends: Ends) -> None:
    sent = bytes(range(256)) * 4096  # 1 MiB: 0.105 s at the rate
    start = time.monotonic()

    def send() -> None:
        ends.near.sendall(sent)
        ends.near.shutdown(socket.SHUT_WR)

    sender = threading.Thread(target=send)
    sender.start()
    received = bytearray()
    while piece := ends.far.recv(1 << 20):
        received += piece
    took_s = time.monotonic() - start
    sender.join(WAIT_S)

    assert received == sent
    assert took_s >= 8 * len(sent) / PATH.rate_bits_per_s + PATH.rtt_s / 2 - 0.01


def test_a_half_closed_connection_still_gets_its_response(ends: Ends) -> None:
    ends.near.shutdown(socket.SHUT_WR)
    assert ends.far.recv(10) == b""

    ends.far.sendall(b"late")
    ends.far.close()

    assert ends.near.recv(10) == b"late"
    assert ends.near.recv(10) == b""


def test_a_reset_is_not_a_clean_end(ends: Ends) -> None:
    ends.far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    ends.far.close()

    with pytest.raises(ConnectionResetError):
        ends.near.recv(10)


def test_connections_share_the_rate_of_a_direction_in_turns() -> None:
    direction = Direction(delay_s=1.0, rate_bytes_per_s=PIECE_BYTES)
    pairs = [socket.socketpair() for _ in range(2)]
    for near, source in pairs:
        near.sendall(bytes(2 * PIECE_BYTES))
        source.setblocking(False)
        direction.halves.append(HalfConnection(source, source))
    ready = {source for _, source in pairs}

    entered = []
    for now in (10.0, 12.0, 14.0):
        direction.read_from(ready, now)
        entered.append([half for _, half, _ in direction.in_flight][-1])

    assert direction.readable_sources(14.5) == []  # the rate is used up
    assert entered[0] is entered[2] is not entered[1]
    assert [due for due, _, _ in direction.in_flight] == pytest.approx([12.0, 14.0, 16.0], abs=0.01)
    for pair in pairs:
        for sock in pair:
            sock.close()


def test_with_keep_port_only_the_address_differs(tmp_path: Path) -> None:
    with listen(own_loopback(), 0) as server, Processes(tmp_path / "line") as processes:
        host, port = server.getsockname()

        dialled = WanLinks(PATH, processes).dial(port, host, keep_port=True)

        assert dialled[1] == port
        assert dialled[0] != host
        with socket.create_connection(dialled, timeout=WAIT_S):
            server.settimeout(WAIT_S)
            server.accept()[0].close()


def test_local_links_dial_the_server_itself() -> None:
    assert LocalLinks().dial(80) == ("127.0.0.1", 80)


def test_a_path_that_cannot_start_is_an_error_with_its_output(tmp_path: Path) -> None:
    with Processes(tmp_path / "line") as processes, pytest.raises(BenchError, match="wan-link-1 ended"):
        WanLinks(NetworkPath(rtt_s=-1, rate_bits_per_s=0), processes).dial(80)
