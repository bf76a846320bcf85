"""Any upgrade that the origin accepts with 101 becomes a relay; an upgrade that carries HTTP past the edge is not requested."""

import shutil
import socket
import subprocess
import threading
from pathlib import Path

import pytest

from tests.edge.http.kit import Origin, Request, Stage, say
from tests.kit.origins import RawOrigin

RFC_6455_EXAMPLE_KEY = b"AQIDBAUGBwgJCgsMDQ4PEC=="
"""Section 4.1: the bytes 0x01 to 0x10, as that section spells them."""


def switching(protocol: str, *fields: bytes) -> object:
    """Return an origin's answer: switch to `protocol`, then send back what comes, in capitals."""

    def answer(request: Request, sock: socket.socket) -> bytes | None:
        assert request.all("upgrade") == [protocol]
        assert request.all("connection") == ["Upgrade"]
        lines = b"".join(line + b"\r\n" for line in fields)
        sock.sendall(b"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: %b\r\n%b\r\n" % (protocol.encode(), lines))
        while data := sock.recv(1 << 16):
            sock.sendall(data.upper())
        return None

    return answer


@pytest.mark.parametrize(
    ("method", "protocol", "rest"),
    [
        (b"POST", b"tcp", b"\r\n"),
        (b"POST", b"tcp", b"Content-Type: application/json\r\nContent-Length: 28\r\n\r\n" + b'{"Detach":false,"Tty":false}'),
        (b"POST", b"SPDY/3.1", b"X-Stream-Protocol-Version: v4.channel.k8s.io\r\nContent-Length: 0\r\n\r\n"),
        (b"POST", b"tcp", b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"),
        (b"GET", b"my-own/1", b"\r\n"),
        (b"GET", b"websocket", b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + RFC_6455_EXAMPLE_KEY + b"\r\n\r\n"),
    ],
    ids=["docker attach", "docker exec", "kubectl", "chunked body", "own", "RFC 6455 4.1"],
)
def test_an_upgrade_that_the_origin_accepts_becomes_a_relay(stage: Stage, method: bytes, protocol: bytes, rest: bytes) -> None:
    with Origin(switching(protocol.decode(), b"Content-Type: application/vnd.docker.raw-stream")) as origin:  # type: ignore[arg-type]
        agent = stage.publish(origin)

        def story() -> None:
            with stage.caller() as visitor:
                visitor.send(method + b" /up HTTP/1.1\r\nHost: a.localhost\r\nConnection: Upgrade\r\nUpgrade: " + protocol + b"\r\n" + rest)
                head = visitor.read_head()
                assert head.startswith(b"HTTP/1.1 101 UPGRADED\r\n")
                assert b"\r\nConnection: Upgrade\r\nUpgrade: " + protocol + b"\r\n" in head
                assert b"\r\nContent-Type: application/vnd.docker.raw-stream\r\n" in head
                visitor.send(b"GET / HTTP/1.1\r\n\r\n")
                assert visitor.read(18) == b"GET / HTTP/1.1\r\n\r\n"
                visitor.send(b"bytes")
                assert visitor.read(5) == b"BYTES"
                visitor.end()
                assert visitor.rest() == b""
            stage.eventually(lambda: stage.edge.visitors == 0)
            stage.eventually(lambda: agent.notes == [(method.decode(), "/up", 101)])

        stage.play(story)
        assert stage.idle_streams == 0
    assert not origin.faults


@pytest.mark.parametrize("upgrade", [b"h2c", b"H2C, HTTP/2.0", b"TLS/1.2"])
def test_an_upgrade_that_would_carry_http_past_the_edge_is_not_asked_for(stage: Stage, origin: Origin, upgrade: bytes) -> None:
    """Java's and Apache's HTTP clients offer them with every request; it is answered as any other."""
    stage.publish(origin)

    def story() -> None:
        with stage.caller() as visitor:
            for turn in range(2):
                visitor.send(
                    b"GET /%d HTTP/1.1\r\nHost: a.localhost\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: %b\r\n"
                    b"HTTP2-Settings: AAMAAABk\r\n\r\n" % (turn, upgrade)
                )
                assert visitor.answer().body == b"/%d" % turn

    stage.play(story)
    for request in origin.requests:
        assert not request.all("upgrade") + request.all("connection") + request.all("http2-settings")


def test_a_101_that_comes_before_the_request_has_ended_is_refused(stage: Stage) -> None:
    def early(sock: socket.socket) -> None:
        while b"\r\n\r\n" not in sock.recv(1 << 16):
            pass
        sock.sendall(b"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n")
        while sock.recv(1 << 16):
            pass

    with RawOrigin(early) as origin:
        stage.publish(origin.port)

        def story() -> None:
            with stage.caller() as visitor:
                visitor.send(
                    b"POST / HTTP/1.1\r\nHost: a.localhost\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 10\r\n\r\nabc"
                )
                heard = visitor.answer()
                assert (heard.status, heard.code) == (502, "origin_invalid")

        stage.play(story)


def test_a_visitor_gets_the_required_upgrade(stage: Stage) -> None:
    reply = say(b"", b"Connection: Upgrade", b"Upgrade: h2c, my-own/1", status=b"426 Upgrade Required")
    with Origin(lambda _request, _sock: reply) as origin:
        stage.publish(origin)

        def story() -> None:
            with stage.caller() as visitor:
                heard = visitor.get("/")
                assert (heard.headers["upgrade"], heard.headers["connection"]) == ("my-own/1", "Upgrade")
                visitor.send(b"GET / HTTP/1.1\r\nHost: a.localhost\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n")
                heard = visitor.answer()
                assert (heard.headers["upgrade"], heard.headers["connection"]) == ("my-own/1", "Upgrade, close")

        stage.play(story)


def docker_daemon(sock: socket.socket) -> None:
    """Answer what `docker exec -i` asks, and send its input back in capitals, in the frames of docker's raw stream."""
    wire = b""
    while True:
        while b"\r\n\r\n" not in wire:
            data = sock.recv(1 << 16)
            if not data:
                return
            wire += data
        head, wire = wire.split(b"\r\n\r\n", 1)
        size = next((int(line[16:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length: ")), 0)
        while len(wire) < size:
            wire += sock.recv(1 << 16)
        wire = wire[size:]
        target = head.split(b" ")[1]
        if target.endswith(b"/start"):
            sock.sendall(
                b"HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.raw-stream\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n"
            )
            while data := wire or sock.recv(1 << 16):
                sock.sendall(b"\x01\0\0\0" + len(data).to_bytes(4, "big") + data.upper())
                wire = b""
            return
        replies = {
            b"/_ping": b"OK",
            b"/json": b'{"Id":"e","Running":false,"ExitCode":0,"Config":{"Tty":false}}',
            b"/exec": b'{"Id":"e"}',
        }
        body = next((reply for end, reply in replies.items() if target.endswith(end)), b"{}")
        sock.sendall(
            b"HTTP/1.1 200 OK\r\nApi-Version: 1.43\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
            % (len(body), b"" if head.startswith(b"HEAD") else body)
        )


@pytest.mark.skipif(shutil.which("docker") is None, reason="the docker command is not installed")
def test_docker_s_own_client_runs_a_command_through_it(stage: Stage, tmp_path: Path) -> None:
    """Only the daemon is made up; it sees an upgrade to tcp with a JSON body, and its client's half-close."""
    served = threading.Event()

    def serve(sock: socket.socket) -> None:
        docker_daemon(sock)
        served.set()

    with RawOrigin(serve) as daemon:
        stage.publish(daemon.port, "localhost")

        def story() -> None:
            done = subprocess.run(
                ["docker", "--config", str(tmp_path), "-H", f"tcp://localhost:{stage.port}", "exec", "-i", "box", "cat"],
                input=b"through docker\n",
                capture_output=True,
                timeout=30,
                check=False,
            )
            assert done.stdout == b"THROUGH DOCKER\n", (done.stdout, done.stderr)
            assert served.wait(10)

        stage.play(story, deadline_s=60)
