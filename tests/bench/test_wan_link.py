"""The long line: nothing arrives early, the rate is kept and shared, ends and breaks are passed on."""

import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from bench.errors import BenchError
from bench.load.wan_link import PIECE_BYTES, Direction, Way, listen
from bench.processes import Processes
from bench.systems.links import Far, Line, Near, own_loopback

LINE = Line(rtt_s=0.1, rate_bits_per_s=80e6)
WAIT_S = 5


@dataclass(frozen=True, slots=True)
class Ends:
    """A visitor's and a server's side of one connection over the line."""

    near: socket.socket
    far: socket.socket


@pytest.fixture
def ends(tmp_path: Path) -> Iterator[Ends]:
    with Processes(tmp_path / "line") as crew, listen("127.0.0.1", 0) as server:
        host, port = Far(LINE, crew).dial(server.getsockname()[1])
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

    assert there_s >= LINE.rtt_s / 2
    assert time.monotonic() - start >= LINE.rtt_s


def test_all_bytes_arrive_in_order_and_not_before_the_rate_allows(ends: Ends) -> None:
    sent = bytes(range(256)) * 4096  # 1 MiB: 0.105 s of the line
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
    assert took_s >= 8 * len(sent) / LINE.rate_bits_per_s + LINE.rtt_s / 2 - 0.01


def test_one_ends_and_still_gets_the_answer(ends: Ends) -> None:
    ends.near.shutdown(socket.SHUT_WR)
    assert ends.far.recv(10) == b""

    ends.far.sendall(b"late")
    ends.far.close()

    assert ends.near.recv(10) == b"late"
    assert ends.near.recv(10) == b""


def test_a_reset_is_no_clean_end(ends: Ends) -> None:
    ends.far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    ends.far.close()

    with pytest.raises(ConnectionResetError):
        ends.near.recv(10)


def test_connections_take_turns_on_a_direction() -> None:
    direction = Direction(delay_s=1.0, rate_bytes_per_s=PIECE_BYTES)
    pairs = [socket.socketpair() for _ in range(2)]
    for near, source in pairs:
        near.sendall(bytes(2 * PIECE_BYTES))
        source.setblocking(False)
        direction.ways.append(Way(source, source))
    ready = {source for _, source in pairs}

    entered = []
    for now in (10.0, 12.0, 14.0):
        direction.take(ready, now)
        entered.append([way for _, way, _ in direction.flying][-1])

    assert direction.sources(14.5) == []  # taken
    assert entered[0] is entered[2] is not entered[1]
    assert [due for due, _, _ in direction.flying] == pytest.approx([12.0, 14.0, 16.0], abs=0.01)
    for pair in pairs:
        for sock in pair:
            sock.close()


def test_a_port_can_be_kept_by_another_address(tmp_path: Path) -> None:
    with listen(own_loopback(), 0) as server, Processes(tmp_path / "line") as crew:
        host, port = server.getsockname()

        dialled = Far(LINE, crew).dial(port, host, keep_port=True)

        assert dialled[1] == port
        assert dialled[0] != host
        with socket.create_connection(dialled, timeout=WAIT_S):
            server.settimeout(WAIT_S)
            server.accept()[0].close()


def test_without_a_line_the_server_itself_is_dialled() -> None:
    assert Near().dial(80) == ("127.0.0.1", 80)


def test_a_line_that_cannot_start_says_why(tmp_path: Path) -> None:
    with Processes(tmp_path / "line") as crew, pytest.raises(BenchError, match="line-1 ended"):
        Far(Line(rtt_s=-1, rate_bits_per_s=0), crew).dial(80)
