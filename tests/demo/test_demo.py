"""`portway demo` as a user runs it: one command, a working URL, and no files or processes left."""

import http.client
import json
import os
import shutil
import signal
import socket
import ssl
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Origin

from tests.kit.programs import Program, portway

pytestmark = pytest.mark.timeout(90)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short path, for Unix sockets."""
    path = Path(tempfile.mkdtemp(prefix="pw-"))
    yield path
    until(lambda: gone(path), "a process still writes there")


def gone(path: Path) -> bool:
    """Remove a directory; children of a killed demo may still write to it for a moment."""
    shutil.rmtree(path, ignore_errors=True)
    return not path.exists()


def demo(folder: Path, *arguments: str) -> Program:
    for name in ("tmp", "run", "home"):
        (folder / name).mkdir(mode=0o700, exist_ok=True)
    env = {
        "TMPDIR": str(folder / "tmp"),
        "XDG_RUNTIME_DIR": str(folder / "run"),
        "HOME": str(folder / "home"),
        "PORTWAY_DOMAIN": "not.for.demos",
    }
    return portway("demo", *arguments, env=env)


def visit(url: str, path: str) -> tuple[int, bytes]:
    """Send a request as a browser does: names under localhost are 127.0.0.1."""
    address = urlsplit(url)
    connection = http.client.HTTPConnection("127.0.0.1", address.port, timeout=10)
    try:
        connection.request("GET", path, headers={"Host": address.netloc})
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def socket_to(url: str, path: str) -> ClientConnection:
    """Open a WebSocket as a page at `url` does."""
    address = urlsplit(url)
    sock = socket.create_connection(("127.0.0.1", address.port or 80), timeout=10)
    return connect(f"ws://{address.netloc}{path}", sock=sock, origin=Origin(url), proxy=None, max_size=None)


def children_of(program: Program) -> list[int]:
    return [int(pid) for pid in Path(f"/proc/{program.pid}/task/{program.pid}/children").read_text().split()]


def running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def until(condition: Callable[[], bool], failure: str, deadline_s: float = 10.0) -> None:
    end = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end, failure
        time.sleep(0.02)


def files_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir())


def test_the_first_line_is_a_url_that_shows_the_site_through_the_tunnel(folder: Path) -> None:
    with demo(folder) as program:
        url = program.first_line(30)
        assert urlsplit(url).hostname is not None
        assert str(urlsplit(url).hostname).endswith(".localhost")
        status, page = visit(url, "/")
        assert status == 200
        assert b"This page came to you through a tunnel" in page
        trace = json.loads(visit(url, "/trace")[1])
        assert trace["request"]["forwarded_host"] == urlsplit(url).netloc
        assert trace["request"]["forwarded_for"] == "127.0.0.1"
        assert trace["link"]["encrypted"] is True
        program.expect(r"^GET /trace 200 ")
        assert program.stop(10).code == 0


def test_events_as_json(folder: Path) -> None:
    with demo(folder, "--json") as program:
        up = json.loads(program.first_line(30))
        assert (up["event"], set(up)) == ("demo_up", {"event", "time", "url", "server", "site", "join_file", "https_url", "ca_file"})
        assert Path(up["join_file"]).stat().st_mode & 0o77 == 0
        assert visit(up["url"], "/trace")[0] == 200
        program.expect(r'"event":"request_line".*"path":"/trace","status":200')
        finished = program.stop(10)
    assert finished.code == 0
    events = [json.loads(line) for line in finished.out.splitlines()]
    assert (events[-1]["event"], events[-1]["reason"]) == ("demo_down", "SIGTERM")


def test_a_websocket_and_a_megabyte_go_through(folder: Path) -> None:
    with demo(folder) as program:
        url = program.first_line(30)
        with socket_to(url, "/live") as live:
            live.send('{"t":"echo","n":7}')
            while (message := json.loads(live.recv(10)))["t"] != "echo":
                pass
            assert message["n"] == 7
        with socket_to(url, "/echo") as echo:
            megabyte = os.urandom(1024 * 1024)
            echo.send(megabyte)
            assert echo.recv(20) == megabyte
        assert program.stop(10).code == 0


def test_a_second_demo_runs_beside_the_first(folder: Path) -> None:
    with demo(folder) as first, demo(folder) as second:
        urls = [program.first_line(30) for program in (first, second)]
        assert len(set(urls)) == 2
        assert [visit(url, "/trace")[0] for url in urls] == [200, 200]
        assert first.stop(10).code == 0
        assert visit(urls[1], "/trace")[0] == 200


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_everything_and_leaves_nothing(folder: Path, number: signal.Signals) -> None:
    with demo(folder) as program:
        program.first_line(30)
        children = children_of(program)
        assert len(children) == 2
        program.signal(number)
        finished = program.wait(15)
        assert finished.code == 0, finished.err
        assert "Traceback" not in finished.err
        assert not any(running(pid) for pid in children)
        assert files_in(folder / "tmp") == files_in(folder / "run") == files_in(folder / "home") == []
        assert not list((folder / "tmp").iterdir())


def test_open_pages_and_stalled_downloads_do_not_delay_the_stop(folder: Path) -> None:
    with demo(folder) as program:
        url = program.first_line(30)
        with socket_to(url, "/live") as live, socket.create_connection(("127.0.0.1", urlsplit(url).port or 80), timeout=10) as stalled:
            live.recv(10)
            stalled.sendall(f"GET /download HTTP/1.1\r\nHost: {urlsplit(url).netloc}\r\n\r\n".encode())
            assert stalled.recv(15) == b"HTTP/1.1 200 OK"
            program.signal(signal.SIGTERM)
            finished = program.wait(12)
        assert finished.code == 0, finished.err
        assert "Traceback" not in finished.err
        assert not list((folder / "tmp").iterdir())


def test_a_signal_during_the_start_leaves_nothing(folder: Path) -> None:
    with demo(folder) as program:
        until(lambda: bool(list((folder / "tmp").glob("portway-demo-*/server.log"))), "the server was never started")
        program.signal(signal.SIGINT)
        finished = program.wait(15)
        assert finished.code == 0, finished.err
        assert "Traceback" not in finished.err
        assert not list((folder / "tmp").iterdir())


def test_it_stops_after_its_duration(folder: Path) -> None:
    with demo(folder, "--duration", "500ms", "--name", "my-demo") as program:
        finished = program.wait(30)
        assert finished.code == 0, finished.err
        assert str(urlsplit(finished.out.splitlines()[0]).hostname) == "my-demo.localhost"


def test_if_the_server_dies_the_demo_fails_with_the_reason(folder: Path) -> None:
    with demo(folder) as program:
        program.first_line(30)
        children = children_of(program)
        os.kill(children[0], signal.SIGKILL)
        finished = program.wait(15)
        assert finished.code == 1
        assert "the demo's server exited unexpectedly (signal 9)" in finished.err
        assert not any(running(pid) for pid in children)


def test_if_the_demo_is_killed_its_children_exit(folder: Path) -> None:
    with demo(folder) as program:
        program.first_line(30)
        children = children_of(program)
        program.kill()
        until(lambda: not any(running(pid) for pid in children), "a child outlived the demo")


def test_a_name_that_cannot_be_claimed_is_refused_before_anything_starts(folder: Path) -> None:
    with demo(folder, "--name", "admin") as program:
        finished = program.wait(15)
        assert finished.code == 2
        assert "admin" in finished.err


def test_the_site_is_there_over_https_too(folder: Path) -> None:
    with demo(folder, "--json") as program:
        up = json.loads(program.first_line(30))
        address = urlsplit(up["https_url"])
        context = ssl.create_default_context(cafile=up["ca_file"])
        with (
            socket.create_connection(("127.0.0.1", address.port), timeout=10) as sock,
            context.wrap_socket(sock, server_hostname=address.hostname) as tls,
        ):
            tls.sendall(f"GET /trace HTTP/1.1\r\nHost: {address.netloc}\r\nConnection: close\r\n\r\n".encode())
            answer = b"".join(iter(lambda: tls.recv(65536), b""))
        assert answer.startswith(b"HTTP/1.1 200")
        assert b"https" in answer
        assert program.stop(10).code == 0
