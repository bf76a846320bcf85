"""Trailers pass in both directions, with their announcement, to peers that can read them."""

import json
import shutil
import socket
import subprocess
from collections.abc import Iterator

import pytest

from tests.edge.http.kit import Origin, Request, Stage

BODY = b"5\r\nhello\r\n0\r\n"
TRAILERS = b"X-Checksum: 5d41402a\r\nServer-Timing: db;dur=3\r\nSet-Cookie: evil=1\r\nContent-Length: 9\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n"


def streamed(_request: Request, _sock: socket.socket) -> bytes:
    return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Checksum, Server-Timing, Set-Cookie\r\n\r\n" + BODY + TRAILERS


def test_a_request_s_trailers_reach_the_origin(stage: Stage, origin: Origin) -> None:
    stage.publish(origin)

    def story() -> None:
        with stage.caller() as visitor:
            visitor.send(
                b"POST /up HTTP/1.1\r\nHost: a.localhost\r\nTE: trailers\r\nConnection: TE\r\nTrailer: X-Checksum, Host\r\n"
                b"Transfer-Encoding: chunked\r\n\r\n" + BODY + TRAILERS
            )
            assert visitor.answer().body == b"/up"

    stage.play(story)
    (request,) = origin.requests
    assert request.body == b"hello"
    assert request.trailers == [("x-checksum", "5d41402a"), ("server-timing", "db;dur=3")]
    assert (request.all("te"), request.all("connection"), request.all("trailer")) == (["trailers"], ["TE, close"], ["X-Checksum"])


def test_an_answer_s_trailers_reach_the_visitor_and_the_next_answer_has_none_of_them(stage: Stage) -> None:
    with Origin(streamed) as origin:
        stage.publish(origin)

        def story() -> None:
            with stage.caller() as visitor:
                for _ in range(3):
                    visitor.send(b"GET / HTTP/1.1\r\nHost: a.localhost\r\n\r\n")
                    assert b"\r\nTrailer: X-Checksum, Server-Timing\r\n" in visitor.read_head()
                    expected = BODY + b"X-Checksum: 5d41402a\r\nServer-Timing: db;dur=3\r\n\r\n"
                    assert visitor.read(len(expected)) == expected

        stage.play(story)
        assert len(origin.wires) == 1


def test_an_old_visitor_gets_the_body_alone(stage: Stage) -> None:
    with Origin(streamed) as origin:
        stage.publish(origin)

        def story() -> None:
            with stage.caller() as visitor:
                visitor.send(b"GET / HTTP/1.0\r\nHost: a.localhost\r\n\r\n")
                assert b"Trailer" not in visitor.read_head()
                assert visitor.rest() == b"hello"

        stage.play(story)


def test_an_answer_whose_trailers_never_end_is_cut(stage: Stage) -> None:
    def answer(_request: Request, sock: socket.socket) -> bytes | None:
        sock.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + BODY)
        try:
            while True:
                sock.sendall(b"A: b\r\n" * 100)
        except OSError:
            return None

    with Origin(answer) as origin:
        stage.publish(origin)

        def story() -> None:
            with stage.caller() as visitor:
                visitor.send(b"GET / HTTP/1.1\r\nHost: a.localhost\r\nConnection: close\r\n\r\n")
                try:
                    assert visitor.rest().startswith(b"HTTP/1.1 502 "), "found out before anything was sent"
                except ConnectionResetError:
                    pass  # or afterwards
            stage.eventually(lambda: origin.ended == 1)

        stage.play(story)


NODE_ORIGIN = """
const server = require('http').createServer((request, response) => {
  request.resume();
  request.on('end', () => {
    response.writeHead(200, { Trailer: 'X-Seen' });
    response.write('from node');
    response.addTrailers({ 'X-Seen': JSON.stringify(request.trailers), 'Set-Cookie': 'evil=1' });
    response.end();
  });
});
server.listen(0, '127.0.0.1', () => console.log(server.address().port));
"""
NODE_VISITOR = """
const request = require('http').request(
  { port: PORT, method: 'POST', headers: { Host: 'a.localhost', Trailer: 'X-Sum', 'Transfer-Encoding': 'chunked' } }, (response) => {
    let body = '';
    response.on('data', (piece) => { body += piece; });
    response.on('end', () => console.log(JSON.stringify({ body, trailers: response.trailers, announced: response.headers.trailer })));
  });
request.write('hello');
request.addTrailers({ 'X-Sum': '5', 'X-Forwarded-For': '6.6.6.6' });
request.end();
"""


@pytest.fixture
def node_port() -> Iterator[int]:
    """A real server that lists the trailers it got, in a trailer."""
    if shutil.which("node") is None:
        pytest.skip("node is not installed")
    with subprocess.Popen(["node", "-e", NODE_ORIGIN], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.kill()


def test_node_gets_node_s_trailers(stage: Stage, node_port: int) -> None:
    stage.publish(node_port)

    def story() -> None:
        script = NODE_VISITOR.replace("PORT", str(stage.port))
        done = subprocess.run(["node", "-e", script], capture_output=True, timeout=30, check=True)
        assert json.loads(done.stdout) == {"body": "from node", "trailers": {"x-seen": '{"x-sum":"5"}'}, "announced": "X-Seen"}

    stage.play(story, deadline_s=60)
