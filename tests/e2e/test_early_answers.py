"""An origin that answers before it has read the request, and hangs up: the answer arrives, as it does directly."""

import http.client
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.curl import Curl
from tests.e2e.stack import Stack
from tests.kit.node import node_server
from tests.kit.origins import RawOrigin

pytestmark = pytest.mark.timeout(180)

REFUSES = """
const server = http.createServer((request, response) => {
    response.writeHead(413, {Connection: 'close', 'Content-Length': 9});
    response.end('too large');
});
"""

KEEPS_READING = """
const server = http.createServer((request, response) => {
    response.writeHead(413);
    response.end('too large');
    request.resume();
});
"""


@pytest.mark.parametrize("kind", ["http", "tcp"])
def test_a_refusal_during_an_upload_arrives(stack: Stack, tmp_path: Path, kind: str) -> None:
    body = tmp_path / "body"
    body.write_bytes(bytes(5_000_000))
    with node_server(tmp_path, REFUSES) as port:
        tunnel = stack.tunnel(kind, port)
        statuses = []
        for _ in range(25):
            with Curl("-H", "Expect:", "-X", "PUT", "--data-binary", f"@{body}", "-w", "%{http_code}", tunnel.http("/")) as curl:
                got = curl.finish()
            statuses.append(got.tail)
        assert statuses == [b"too large413"] * 25
    stack.healthy()


@pytest.mark.parametrize("pause_s", [0.0, 3.0])
def test_a_client_that_reads_only_after_writing_all_gets_the_response(stack: Stack, tmp_path: Path, pause_s: float) -> None:
    """Python's own client is one, and most that block."""

    def body() -> Iterator[bytes]:
        for turn in range(48):
            yield bytes(1 << 20)
            if turn == 1:
                time.sleep(pause_s)

    with node_server(tmp_path, KEEPS_READING) as port:
        tunnel = stack.tunnel("http", port)
        client = http.client.HTTPConnection("127.0.0.1", tunnel.port, timeout=30)
        client.request("PUT", "/", body(), {"Host": tunnel.host, "Content-Length": str(48 << 20)})
        answer = client.getresponse()
        assert (answer.status, answer.read()) == (413, b"too large")
        client.close()
    stack.healthy()


def test_the_last_bytes_of_a_tcp_service_that_closes_arrive(stack: Stack) -> None:
    with RawOrigin(lambda sock: sock.sendall(b"554 too many errors\r\n")) as origin:
        tunnel = stack.tunnel("tcp", origin.port)
        for _ in range(30):
            with tunnel.connect() as visitor:
                heard = b""
                try:
                    visitor.sendall(b"x" * 300_000)
                except OSError:
                    pass
                try:
                    while piece := visitor.recv(1000):
                        heard += piece
                except OSError:
                    pass
                assert heard == b"554 too many errors\r\n"
    stack.healthy()
