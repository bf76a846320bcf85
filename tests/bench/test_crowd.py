"""A crowd comes, is silent, asks at once; whoever gets no answer is counted."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from bench.axes.crowd import room_for
from bench.load.crowd import Crowd
from bench.load.http import HEAD_END, SMALL_ANSWER


def serve(listener: socket.socket, visitors: int, answers: dict[int, int]) -> None:
    """Answer visitor n `answers[n]` times (twice when not named), then let go of him."""

    def host(sock: socket.socket, times: int) -> None:
        with sock:
            for _ in range(times):
                if HEAD_END not in sock.recv(4096):
                    return
                sock.sendall(SMALL_ANSWER)

    hosts = []
    for number in range(visitors):
        hosts.append(threading.Thread(target=host, args=(listener.accept()[0], answers.get(number, 2))))
        hosts[-1].start()
    for each in hosts:
        each.join(5)


@contextmanager
def crowd_of(visitors: int, answers: dict[int, int]) -> Iterator[Crowd]:
    with socket.create_server(("127.0.0.1", 0), backlog=256) as listener:
        origin = threading.Thread(target=serve, args=(listener, visitors, answers))
        origin.start()
        crowd = Crowd(listener.getsockname()[1], "127.0.0.1")
        yield crowd
        crowd.leave()
        origin.join(5)


def test_everybody_is_answered() -> None:
    with crowd_of(150, {}) as crowd:
        crowd.arrive(150, time.monotonic() + 10)

        assert (len(crowd.there), crowd.failures) == (150, 0)
        assert crowd.ask(time.monotonic() + 10) == 150


def test_who_is_let_down_is_lost() -> None:
    with crowd_of(10, {0: 0, 3: 1, 4: 1}) as crowd:
        crowd.arrive(10, time.monotonic() + 10)

        assert (len(crowd.there), crowd.failures) == (9, 1)
        assert crowd.ask(time.monotonic() + 10) == 7


def test_waiting_ends() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:  # accepts nobody, answers nobody
        crowd = Crowd(listener.getsockname()[1], "127.0.0.1")
        crowd.arrive(3, time.monotonic() + 0.2)

    assert (crowd.there, crowd.failures) == ([], 3)
    assert crowd.ask(time.monotonic() + 0.2) == 0
    crowd.leave()


@pytest.mark.parametrize(("wanted", "files_max", "room"), [(9000, 65_536, 9000), (9000, 20_000, 9000), (9000, 4096, 1548)])
def test_a_crowd_has_room_within_the_limit_of_open_files(wanted: int, files_max: int, room: int) -> None:
    assert room_for(wanted, files_max) == room
