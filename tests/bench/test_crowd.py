"""A crowd connects, is idle, requests at once; visitors without a response are counted."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from bench.axes.crowd import visitors_possible
from bench.load.crowd import Crowd
from bench.load.http import HEAD_END, SMALL_RESPONSE


def serve(listener: socket.socket, visitors: int, responses: dict[int, int]) -> None:
    """Respond to visitor n `responses[n]` times (default: twice), then close its connection."""

    def host(sock: socket.socket, times: int) -> None:
        with sock:
            for _ in range(times):
                if HEAD_END not in sock.recv(4096):
                    return
                sock.sendall(SMALL_RESPONSE)

    hosts = []
    for number in range(visitors):
        hosts.append(threading.Thread(target=host, args=(listener.accept()[0], responses.get(number, 2))))
        hosts[-1].start()
    for each in hosts:
        each.join(5)


@contextmanager
def crowd_of(visitors: int, responses: dict[int, int]) -> Iterator[Crowd]:
    with socket.create_server(("127.0.0.1", 0), backlog=256) as listener:
        origin = threading.Thread(target=serve, args=(listener, visitors, responses))
        origin.start()
        crowd = Crowd(listener.getsockname()[1], "127.0.0.1")
        yield crowd
        crowd.close()
        origin.join(5)


def test_every_visitor_gets_its_responses() -> None:
    with crowd_of(150, {}) as crowd:
        crowd.connect_all(150, time.monotonic() + 10)

        assert (len(crowd.idle), crowd.failures) == (150, 0)
        assert crowd.request_all(time.monotonic() + 10) == 150


def test_a_visitor_without_a_response_is_lost() -> None:
    with crowd_of(10, {0: 0, 3: 1, 4: 1}) as crowd:
        crowd.connect_all(10, time.monotonic() + 10)

        assert (len(crowd.idle), crowd.failures) == (9, 1)
        assert crowd.request_all(time.monotonic() + 10) == 7


def test_waiting_ends_at_the_deadline() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:  # never accepts
        crowd = Crowd(listener.getsockname()[1], "127.0.0.1")
        crowd.connect_all(3, time.monotonic() + 0.2)

    assert (crowd.idle, crowd.failures) == ([], 3)
    assert crowd.request_all(time.monotonic() + 0.2) == 0
    crowd.close()


@pytest.mark.parametrize(("wanted", "files_max", "expected"), [(9000, 65_536, 9000), (9000, 20_000, 9000), (9000, 4096, 1548)])
def test_a_crowd_fits_the_limit_of_open_files(wanted: int, files_max: int, expected: int) -> None:
    assert visitors_possible(wanted, files_max) == expected
