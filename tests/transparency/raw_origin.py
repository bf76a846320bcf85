"""An origin that responds with exact bytes, for responses that real servers rarely send."""

import contextlib
import socket
import threading
from types import TracebackType
from typing import Self

from tests.kit.sockets import reset, tcp_listener

Script = list[bytes | float | str]
"""Bytes to send, seconds to wait, or one of: `body` (read the request's body first), `close`, `reset`, `echo-until-end`."""

DEADLINE_S = 20.0


class RawOrigin:
    """Runs the script named by the request path, on any number of connections, until the end of the `with` block."""

    def __init__(self, scripts: dict[str, Script]) -> None:
        """Listen on a free port."""
        self._scripts = scripts
        self._listener = tcp_listener()
        self.port: int = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept, daemon=True)]

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.settimeout(DEADLINE_S)
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        data = b""
        with contextlib.suppress(OSError), sock:
            while True:
                while b"\r\n\r\n" not in data:
                    piece = sock.recv(1 << 16)
                    if not piece:
                        return
                    data += piece
                head, _, data = data.partition(b"\r\n\r\n")
                name = head.split(b" ")[1].decode().lstrip("/")
                script = self._scripts.get(name, [b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"])
                data = self._play(sock, script, head, data)

    def _play(self, sock: socket.socket, script: Script, head: bytes, data: bytes) -> bytes:
        """Run one script; return the bytes read after the request."""
        for step in script:
            if isinstance(step, bytes):
                sock.sendall(step)
            elif isinstance(step, float):
                threading.Event().wait(step)
            elif step == "body":
                data = _without_body(sock, head, data)
            elif step == "echo-until-end":
                sock.sendall(data)
                while piece := sock.recv(1 << 16):
                    sock.sendall(piece)
            elif step == "reset":
                reset(sock)
                raise OSError
            else:
                raise OSError  # `with` closes
        return data


def _without_body(sock: socket.socket, head: bytes, data: bytes) -> bytes:
    """Read a request's body; return what follows it."""
    lines = [line.lower() for line in head.split(b"\r\n")]
    length = next((int(line.partition(b":")[2]) for line in lines if line.startswith(b"content-length:")), None)
    if length is None:
        if not any(line.startswith(b"transfer-encoding:") for line in lines):
            return data
        while b"0\r\n\r\n" not in data:
            data += sock.recv(1 << 16)
        return data.partition(b"0\r\n\r\n")[2]
    while len(data) < length:
        data += sock.recv(1 << 16)
    return data[length:]
