"""An HTTP/1.1 origin for tests: large responses with length or chunked, hashes of uploads, and broken responses."""

import hashlib
import json
import socket
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Self
from urllib.parse import parse_qs, urlsplit

from tests.kit.sockets import reset
from tests.kit.streams import blocks


class _Handler(BaseHTTPRequestHandler):
    """Routes: /bytes?n=&seed=  /chunked?n=&seed=  /broken?n=&how=length|chunked  /sink (PUT, POST)  /hold  /hello  /headers."""

    protocol_version = "HTTP/1.1"
    server: "_Server"

    def log_message(self, format: str, *args: object) -> None:
        """Stay silent."""

    def do_GET(self) -> None:
        """Respond by path."""
        url = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        size, seed = int(query.get("n", "0")), int(query.get("seed", "1"))
        self.server.requests += 1
        match url.path:
            case "/bytes":
                self._with_length(size, blocks(size, seed))
            case "/chunked":
                self._chunked(blocks(size, seed))
            case "/broken":
                self._broken(size, seed, query.get("how", "length"), query.get("end", "reset"))
            case "/hold":
                self.server.release.wait(30)
                self._with_length(5, iter([b"late\n"]))
            case "/headers":
                body = json.dumps({"headers": self.headers.items(), "peer": self.client_address[0]}).encode()
                self._with_length(len(body), iter([body]))
            case _:
                body = f"hello from {self.server.name}\n".encode()
                self._with_length(len(body), iter([body]))

    def do_PUT(self) -> None:
        """Respond with size and SHA-256 of the body."""
        digest, count = hashlib.sha256(), 0
        for piece in self._body():
            digest.update(piece)
            count += len(piece)
        body = json.dumps({"bytes": count, "sha256": digest.hexdigest()}).encode()
        self._with_length(len(body), iter([body]))

    do_POST = do_PUT  # noqa: N815 - the name that http.server looks for

    def _body(self) -> Iterator[bytes]:
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            while size := int(self.rfile.readline().split(b";")[0], 16):
                while size and (piece := self.rfile.read(min(size, 1 << 20))):
                    size -= len(piece)
                    yield piece
                self.rfile.readline()
            while self.rfile.readline() not in (b"\r\n", b""):
                pass
            return
        left = int(self.headers.get("Content-Length", "0"))
        while left and (piece := self.rfile.read(min(left, 1 << 20))):
            left -= len(piece)
            yield piece

    def _with_length(self, size: int, body: Iterator[bytes]) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(size))
        self.end_headers()
        for piece in body:
            self.wfile.write(piece)

    def _chunked(self, body: Iterator[bytes]) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for piece in body:
            self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        self.wfile.write(b"0\r\n\r\n")

    def _broken(self, size: int, seed: int, how: str, end: str) -> None:
        self.send_response(200)
        if how == "length":
            self.send_header("Content-Length", str(size))
        else:
            self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for piece in blocks(size // 2, seed):
            self.wfile.write(piece if how == "length" else b"%x\r\n%b\r\n" % (len(piece), piece))
        self.close_connection = True
        if end == "reset":
            reset(self.connection)
        else:
            self.connection.shutdown(socket.SHUT_RDWR)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 1024
    requests = 0
    name = "origin"

    def __init__(self) -> None:
        self.release = Event()
        super().__init__(("127.0.0.1", 0), _Handler)

    def handle_error(self, request: object, client_address: object) -> None:
        """Stay silent: visitors in tests reset connections on purpose."""

    def shutdown_request(self, request: object) -> None:
        """Close; a handler may have reset the socket already."""
        try:
            super().shutdown_request(request)  # type: ignore[arg-type]
        except OSError:
            pass


class HttpOrigin:
    """The origin, listening on a free port until the end of the `with` block."""

    def __init__(self, name: str = "origin") -> None:
        """Serve at once; the response of /hello contains `name`."""
        self._server = _Server()
        self._server.name = name
        self.port: int = self._server.server_address[1]
        Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    @property
    def requests(self) -> int:
        """Number of GET requests."""
        return self._server.requests

    @property
    def release(self) -> Event:
        """Set it to let /hold respond."""
        return self._server.release

    def url(self, path: str) -> str:
        """Return the direct address of `path`."""
        return f"http://127.0.0.1:{self.port}{path}"

    def close(self) -> None:
        """Stop serving."""
        self._server.release.set()
        self._server.shutdown()
        self._server.server_close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
