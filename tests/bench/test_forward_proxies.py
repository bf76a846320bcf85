"""Forward proxies: tiny runs of each, their configuration, and the visitors that request tunnels."""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from bench.axes.base import Axis, Subject
from bench.axes.bulk import Bulk
from bench.axes.catalog import figures_of
from bench.axes.idle import Idle
from bench.axes.latency import Latency
from bench.axes.stall import Stall
from bench.axes.tunnels import Tunnels
from bench.errors import BenchError
from bench.limits import raise_open_files
from bench.load.counters import Counters
from bench.load.proxies import CONNECT, SOCKS5, request_tunnel
from bench.origins import Origins
from bench.plan import QUICK
from bench.processes import Processes
from bench.results import Results
from bench.runner import Runner
from bench.systems.base import Address, Published, System
from bench.systems.catalog import DIRECT, PROXY_CONNECT, PROXY_SOCKS5, PROXY_SYSTEMS
from bench.systems.forward_proxies import dante_argv, squid_argv, through, tinyproxy_argv
from bench.tools import missing

TINY = replace(
    QUICK,
    warm_s=0.05,
    bulk_s=0.1,
    keepalive_s=0.2,
    connections_s=0.2,
    alone_s=0.2,
    idle_visitors=20,
    visitors=4,
    stall_s=0.2,
    minutes_max=1,
)
REPLIES = {CONNECT: [b"HTTP/1.1 200 OK\r\nVia: x\r\n\r\n"], SOCKS5: [b"\5\0", b"\5\0\0\1" + bytes(6)]}
REFUSALS = {CONNECT: [b"HTTP/1.1 403 Forbidden\r\n\r\n"], SOCKS5: [b"\5\0", b"\5\2\0\1" + bytes(6)]}


def require(*programs: str) -> None:
    reason = missing(programs)
    if reason is not None:
        pytest.skip(reason)


def run(folder: Path, system: System, axes: tuple[Axis, ...]) -> Results:
    require(*system.needs, *(program for axis in axes for program in axis.needs))
    results = Runner((system,), axes, TINY, folder, raise_open_files(), lambda line: None).run()
    assert not results.notes
    return results


USUAL = (DIRECT, PROXY_CONNECT, PROXY_SOCKS5)
OTHERS = [pytest.param(system, marks=pytest.mark.long) for system in PROXY_SYSTEMS if system not in USUAL]


@pytest.mark.parametrize("system", [*USUAL, *OTHERS], ids=lambda system: str(system.name))
def test_every_proxy_gives_every_figure(system: System, tmp_path: Path) -> None:
    axes: tuple[Axis, ...] = (Tunnels(new=True), Tunnels(new=False), Bulk("down", 1), Bulk("up", 2), Latency(""), Idle(), Stall("down"))

    results = run(tmp_path, system, axes)

    wanted = [figure for figure in figures_of(axes) if not (figure.used_by_system and system is DIRECT)]
    assert [figure.key for figure in wanted if results.value(system.name, figure.key) is None] == []
    assert all((results.value(system.name, key) or 0) > 0 for key in ("tunnels-new", "tunnels-kept", "bulk-down-1", "bulk-up-2"))


@contextmanager
def proxy(replies: list[bytes]) -> Iterator[int]:
    """A proxy that answers each read of each connection with the next reply, and then closes."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                conn, _ = listener.accept()
            except OSError:
                return
            with conn, suppress(ConnectionResetError):  # a visitor that was refused reads no more
                conn.settimeout(5)
                for reply in replies:
                    if conn.recv(1000):
                        conn.sendall(reply)
                conn.recv(1000)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


@pytest.mark.parametrize("protocol", [CONNECT, SOCKS5])
def test_a_tunnel_is_requested_by_each_protocol(protocol: str) -> None:
    with proxy(REPLIES[protocol]) as port, socket.create_connection(("127.0.0.1", port), timeout=5) as sock:
        request_tunnel(sock, protocol, "127.0.0.1:80")


@pytest.mark.parametrize(
    ("protocol", "replies", "error"),
    [
        (CONNECT, REFUSALS[CONNECT], "403 Forbidden"),
        (SOCKS5, REFUSALS[SOCKS5], "SOCKS5 127.0.0.1:80"),
        (SOCKS5, [b"\5\xff"], "method"),
        (CONNECT, [], "closed during the negotiation"),
        (SOCKS5, [], "closed during the negotiation"),
    ],
)
def test_a_refused_tunnel_is_an_error(protocol: str, replies: list[bytes], error: str) -> None:
    with (
        proxy(replies) as port,
        socket.create_connection(("127.0.0.1", port), timeout=5) as sock,
        pytest.raises(ConnectionError, match=error),
    ):
        request_tunnel(sock, protocol, "127.0.0.1:80")


@pytest.mark.parametrize("protocol", [CONNECT, SOCKS5])
@pytest.mark.parametrize("new", [False, True])
def test_refused_tunnels_are_failures(protocol: str, new: bool, tmp_path: Path) -> None:
    require("go")
    with Processes(tmp_path) as none, Processes(tmp_path / "load") as load, proxy(REFUSALS[protocol]) as port:
        address = Address(port, "127.0.0.1:80", proxy=protocol)
        subject = Subject(none, load, Published(address, address, address), Origins(0, 0, Counters(tmp_path / "counted")))
        with pytest.raises(BenchError, match="403 Forbidden" if protocol == CONNECT else "SOCKS5 reply"):
            Tunnels(new).measure(subject, TINY)


def test_all_origins_are_reached_through_one_port(tmp_path: Path) -> None:
    published = through(5, SOCKS5, Origins(81, 82, Counters(tmp_path / "counted")))

    assert published.web.dial_words == (SOCKS5, "127.0.0.1:81")
    assert published.bulk.dial_words == published.tenant.dial_words == (SOCKS5, "127.0.0.1:82")
    assert {published.web.port, published.bulk.port} == {5}


def test_proxies_listen_on_loopback_without_access_logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.systems.forward_proxies.need", lambda program: program)

    texts = {make: Path(make(tmp_path, 7)[-1]).read_text() for make in (tinyproxy_argv, squid_argv, dante_argv)}

    assert "Listen 127.0.0.1\n" in texts[tinyproxy_argv]
    assert "Port 7\n" in texts[tinyproxy_argv]
    assert "http_port 127.0.0.1:7\n" in texts[squid_argv]
    assert "access_log none\n" in texts[squid_argv]
    assert "internal: 127.0.0.1 port = 7\n" in texts[dante_argv]
    assert "log:" not in texts[dante_argv]
    assert json.dumps(texts[dante_argv]).count("127.0.0.0/8") == 4
