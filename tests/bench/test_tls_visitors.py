"""Visitors with TLS: tiny runs of the origins and of each system, and the program that measures handshakes."""

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from bench.axes.base import Axis, Reading, Subject
from bench.axes.bulk import Bulk
from bench.axes.catalog import figures_of
from bench.axes.handshakes import Handshakes
from bench.axes.idle import Idle
from bench.axes.requests import Requests
from bench.errors import BenchError
from bench.limits import raise_open_files
from bench.load.counters import Counters
from bench.load.http import HEAD_BYTES_MAX, SMALL_BODY, SMALL_RESPONSE, exchange
from bench.load.tls import Dialler, origin_context
from bench.origins import NAMES, Origins, start_origins
from bench.plan import QUICK
from bench.processes import Processes
from bench.results import Results
from bench.runner import Runner
from bench.systems.base import Address, Published, System
from bench.systems.catalog import (
    CADDY_HTTPS,
    HAPROXY_HTTPS,
    HAPROXY_HTTPS_PLAIN,
    NGINX_HTTPS,
    PORTWAY_HTTPS,
    PORTWAY_TCP_PASSED,
    PORTWAY_TLS,
)
from bench.systems.certificates import Certificate, make_certificate
from bench.systems.direct import DirectHttps
from bench.tools import missing

TINY = replace(QUICK, warm_s=0.05, bulk_s=0.1, handshakes_s=0.3, idle_visitors=20, minutes_max=1, handshake_connections=4)


def require(*programs: str) -> None:
    reason = missing(programs)
    if reason is not None:
        pytest.skip(reason)


def run(folder: Path, system: System, axes: tuple[Axis, ...]) -> Results:
    require(*system.needs, *(program for axis in axes for program in axis.needs))
    results = Runner((system,), axes, TINY, folder, raise_open_files(), lambda line: None, tls=True).run()
    assert not results.notes
    return results


def test_the_origins_behind_tls_give_every_figure(tmp_path: Path) -> None:
    axes: tuple[Axis, ...] = (Bulk("down", 1), Bulk("up", 2), Requests(False), Handshakes(False), Handshakes(True), Idle())

    results = run(tmp_path, DirectHttps(), axes)

    for figure in figures_of(axes):
        value = results.value("direct", figure.key)
        assert (value is None) if figure.used_by_system else (value is not None and value > 0), figure


@pytest.mark.parametrize(
    "system",
    [PORTWAY_HTTPS, PORTWAY_TLS, PORTWAY_TCP_PASSED, HAPROXY_HTTPS, HAPROXY_HTTPS_PLAIN, CADDY_HTTPS, NGINX_HTTPS],
    ids=lambda system: str(system.name),
)
def test_a_system_moves_the_bytes_of_visitors_with_tls(system: System, tmp_path: Path) -> None:
    axes: tuple[Axis, ...] = (Bulk("down", 1), Bulk("up", 2))

    results = run(tmp_path, system, axes)

    assert all((results.value(system.name, figure.key) or 0) > 0 for figure in figures_of(axes))


def test_origins_without_tls_start_no_system_of_visitors_with_tls(tmp_path: Path) -> None:
    require("openssl", "nginx")
    results = Runner((DirectHttps(),), (Bulk("down", 1),), TINY, tmp_path, raise_open_files(), lambda line: None).run()

    assert list(results.notes) == ["direct: the origins were started without TLS"]


def test_a_visitor_accepts_only_the_certificate_of_the_run(tmp_path: Path) -> None:
    require("openssl")
    for name in ("ours", "theirs"):
        (tmp_path / name).mkdir()
    theirs = make_certificate(tmp_path / "theirs", NAMES)
    with Processes(tmp_path / "ours") as processes:
        behind = start_origins(processes, raise_open_files(), tls=True).with_tls()
        ours = Dialler(behind.bulk_port, "bulk.localhost", str(behind.certificate.certificate))
        with ours.connect() as sock:
            assert exchange(sock, "bulk.localhost") == SMALL_BODY
        for name, file in (("bulk.localhost", theirs.certificate), ("other.localhost", behind.certificate.certificate)):
            with pytest.raises(ssl.SSLCertVerificationError):
                Dialler(behind.bulk_port, name, str(file)).connect()


@contextmanager
def server(made: Certificate, response: bytes, *, tickets: int) -> Iterator[int]:
    """A server that sends so many tickets and one response on each connection."""
    context = origin_context(str(made.certificate), str(made.key))
    context.num_tickets = tickets
    context.set_alpn_protocols(["http/1.1"])
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                conn, _ = listener.accept()
            except OSError:
                return
            with context.wrap_socket(conn, server_side=True) as tls:
                tls.settimeout(5)
                tls.recv(HEAD_BYTES_MAX)
                tls.sendall(response)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


def handshakes(folder: Path, *, resumed: bool, tickets: int = 2, response: bytes = SMALL_RESPONSE) -> Reading:
    """Measure against that server."""
    require("openssl", "go")
    made = make_certificate(folder, NAMES)
    with Processes(folder) as none, Processes(folder / "load") as load, server(made, response, tickets=tickets) as port:
        address = Address.of_name("web.localhost", port, made.certificate)
        origins = Origins(0, 0, Counters(folder / "counted"))
        return Handshakes(resumed).measure(Subject(none, load, Published(address, address, address), origins), TINY)


@pytest.mark.parametrize("resumed", [False, True])
def test_handshakes_are_counted(resumed: bool, tmp_path: Path) -> None:
    name = "handshakes-resumed" if resumed else "handshakes-full"

    reading = handshakes(tmp_path, resumed=resumed)

    assert reading.figures[name] > 0
    assert not reading.notes


def test_full_handshakes_with_a_server_that_resumes_nothing_count_as_failed(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="resumed: false"):
        handshakes(tmp_path, resumed=True, tickets=0)


def test_a_response_with_an_error_or_of_wrong_length_is_a_failure(tmp_path: Path) -> None:
    for response, reason in ((b"HTTP/1.1 502 Bad Gateway\r\n\r\n", "502 Bad Gateway"), (SMALL_RESPONSE + b"x", "expected the end, got")):
        with pytest.raises(BenchError, match=reason):
            handshakes(tmp_path, resumed=False, response=response)


def test_a_plain_address_has_no_handshakes(tmp_path: Path) -> None:
    address = Address.of_port(1)
    with Processes(tmp_path) as none:
        origins = Origins(0, 0, Counters(tmp_path / "counted"))
        with pytest.raises(BenchError, match="visitors do not use TLS here"):
            Handshakes(False).measure(Subject(none, none, Published(address, address, address), origins), TINY)
