"""Origins that close after each answer without `Connection: close`: nothing fails, and nothing happens twice, as directly."""

import http.client
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from tests.e2e.stack import Stack, Tunnel
from tests.kit.node import node_server
from tests.kit.origins import RawOrigin
from tests.kit.programs import Program
from tests.kit.sockets import free_port, wait_until_listening

pytestmark = pytest.mark.timeout(180)

COUNT = 200

HANGS_UP = """
const server = http.createServer((request, response) => {
    request.resume();
    request.on('end', () => {
        response.writeHead(200, {'Content-Length': 2});
        response.end('ok', () => request.socket.end());
    });
});
"""

WSGI = """
def application(environ, start_response):
    environ['wsgi.input'].read()
    start_response('200 OK', [('Content-Length', '2')])
    return [b'ok']
"""


def _answers_and_closes(sock: object) -> None:
    """Read one request, answer it, and close."""
    stream = sock.makefile("rb")  # type: ignore[attr-defined]
    size = 0
    while (line := stream.readline()) not in (b"\r\n", b""):
        name, _, value = line.partition(b":")
        size = int(value) if name.lower() == b"content-length" else size
    stream.read(size)
    if line:
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")  # type: ignore[attr-defined]


@contextmanager
def _node(folder: Path) -> Iterator[int]:
    with node_server(folder, HANGS_UP) as port:
        yield port


@contextmanager
def _python(_folder: Path) -> Iterator[int]:
    with RawOrigin(_answers_and_closes) as origin:
        yield origin.port


@contextmanager
def _uwsgi(folder: Path) -> Iterator[int]:
    path, port = shutil.which("uwsgi"), free_port()
    if path is None:
        pytest.skip("no uwsgi on this machine")
    (folder / "app.py").write_text(WSGI)
    words = [path, "--plugins", "http,python3", "--http", f"127.0.0.1:{port}", "--master", "--processes", "2"]
    with Program([*words, "--wsgi-file", folder / "app.py", "--need-app", "--die-on-term"], name="uwsgi") as program:
        try:
            wait_until_listening(port, program, 20)
        except AssertionError as exc:
            pytest.skip(f"uwsgi does not start here: {exc}")
        yield port


ORIGINS: dict[str, Callable[[Path], AbstractContextManager[int]]] = {"node": _node, "python": _python, "uwsgi": _uwsgi}


def _ask(client: http.client.HTTPConnection, tunnel: Tunnel, method: str, number: int, *, close: bool) -> int:
    body = b"x" * 20 if number % 2 else None
    headers = {"Host": tunnel.host, **({"Connection": "close"} if close else {})}
    client.request(method, f"/{number}", body, headers)
    answer = client.getresponse()
    answer.read()
    return answer.status


@pytest.mark.parametrize("close", [False, True], ids=["keeping", "closing"])
@pytest.mark.parametrize("origin", ORIGINS)
def test_every_post_gets_a_response(stack: Stack, tmp_path: Path, origin: str, close: bool) -> None:
    with ORIGINS[origin](tmp_path) as port:
        tunnel = stack.tunnel("http", port)
        statuses: list[int] = []

        def visit(share: int) -> None:
            client = http.client.HTTPConnection("127.0.0.1", tunnel.port, timeout=30)
            for number in range(share, COUNT, 4):
                statuses.append(_ask(client, tunnel, "POST" if number % 3 else "GET", number, close=close))
                if close:
                    client.close()
            client.close()

        threads = [threading.Thread(target=visit, args=(share,)) for share in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)
        assert statuses == [200] * COUNT
    stack.healthy()
