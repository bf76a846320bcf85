"""A visitor that leaves, or only ends its side: a real origin sees it as it does directly, and its answer is delivered."""

import socket
import subprocess
import threading
from pathlib import Path

import pytest

from tests.e2e.stack import Stack
from tests.kit.node import START_S, node_command
from tests.kit.origins import RawOrigin
from tests.kit.programs import Program
from tests.kit.services import command
from tests.kit.sockets import reset

pytestmark = pytest.mark.timeout(120)

WAITS = """
const http = require('http');
const server = http.createServer((request, response) => {
    if (request.url === '/events') { response.writeHead(200, {'Content-Type': 'text/event-stream'}); response.write(': hello\\n\\n'); }
    request.resume();
    request.on('end', () => console.log('asked ' + request.url));
    response.on('close', () => console.log('left ' + request.url));
});
server.listen(0, '127.0.0.1', () => console.log('port ' + server.address().port));
"""

REQUESTS = {
    "a pending GET": (b"GET /wait HTTP/1.1\r\nHost: %b\r\n\r\n", "/wait"),
    "a quiet event stream": (b"GET /events HTTP/1.1\r\nHost: %b\r\n\r\n", "/events"),
    "a pending POST": (b"POST /post HTTP/1.1\r\nHost: %b\r\nContent-Length: 3\r\n\r\nabc", "/post"),
}


@pytest.mark.parametrize("rude", [False, True], ids=["closes", "resets"])
@pytest.mark.parametrize("wire", REQUESTS)
def test_node_sees_at_once_that_its_visitor_has_left(stack: Stack, tmp_path: Path, wire: str, rude: bool) -> None:
    (tmp_path / "server.js").write_text(WAITS)
    request, path = REQUESTS[wire]
    with Program([node_command(), tmp_path / "server.js"], name="node") as node:
        tunnel = stack.tunnel("http", int(node.expect(r"port (\d+)", START_S)[1]))
        visitor = tunnel.connect()
        visitor.sendall(request % tunnel.host.encode())
        node.expect(f"asked {path}", 20)
        (reset if rude else socket.socket.close)(visitor)
        node.expect(f"left {path}", 10)
    stack.healthy()


def test_nc_that_ends_its_side_gets_the_response(stack: Stack) -> None:
    nc, ended, answered = command("nc"), threading.Event(), threading.Event()
    if "-N" not in subprocess.run([nc, "-h"], capture_output=True, text=True, check=False).stderr:
        pytest.skip("nc without -N")

    def serve(sock: socket.socket) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            head += sock.recv(1000)
        if not sock.recv(1):
            ended.set()
        answered.wait(20)
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlate")

    with RawOrigin(serve) as origin:
        tunnel = stack.tunnel("http", origin.port)
        process = subprocess.Popen([nc, "-N", "127.0.0.1", str(tunnel.port)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"GET / HTTP/1.1\r\nHost: %b\r\n\r\n" % tunnel.host.encode())
        process.stdin.close()
        assert ended.wait(20), "the end goes on as an end"
        answered.set()
        said = process.stdout.read()
        process.stdout.close()
        assert process.wait(20) == 0
        assert said.endswith(b"\r\n\r\nlate")
    stack.healthy()
