"""Raw sockets for tests: connected pairs, resets, and reading with a deadline."""

import contextlib
import socket
import struct
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.kit.programs import Program

DEADLINE_S = 10.0
"""Timeout of blocking test sockets."""


def tcp_listener(backlog: int = 128, host: str = "127.0.0.1") -> socket.socket:
    """Return a blocking listener on a free port."""
    return socket.create_server((host, 0), backlog=backlog)


def tcp_pair(buffer_bytes: int | None = None) -> tuple[socket.socket, socket.socket]:
    """Return two connected TCP sockets, blocking with a timeout; `buffer_bytes` sets small kernel buffers."""
    with socket.socket() as listener:
        if buffer_bytes is not None:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)
        listener.bind(("127.0.0.1", 0))
        listener.listen(1)
        left = socket.socket()
        if buffer_bytes is not None:
            left.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)
        left.connect(listener.getsockname())
        right, _ = listener.accept()
    for end in (left, right):
        if buffer_bytes is not None:
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer_bytes)
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        end.settimeout(DEADLINE_S)
    return left, right


def unix_pair(buffer_bytes: int | None = None) -> tuple[socket.socket, socket.socket]:
    """Return two connected unix stream sockets, blocking with a timeout."""
    left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    for end in (left, right):
        if buffer_bytes is not None:
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer_bytes)
        end.settimeout(DEADLINE_S)
    return left, right


def reset(sock: socket.socket) -> None:
    """Close with RST (TCP); a unix socket has none and is only closed."""
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def read_exactly(sock: socket.socket, count: int) -> bytes:
    """Return `count` bytes; an early end is an error."""
    parts = bytearray()
    while len(parts) < count:
        piece = sock.recv(min(count - len(parts), 1 << 20))
        if not piece:
            raise AssertionError(f"the peer ended after {len(parts)} of {count} bytes")
        parts += piece
    return bytes(parts)


def read_to_end(sock: socket.socket) -> bytes:
    """Return all bytes until the peer's end; a reset raises ConnectionResetError."""
    parts = bytearray()
    while piece := sock.recv(1 << 20):
        parts += piece
    return bytes(parts)


def open_descriptors() -> int:
    """Return the number of open descriptors of this process."""
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def free_port() -> int:
    """Return a TCP port that is free now, for programs that cannot choose one themselves."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_until_listening(port: int, program: "Program", deadline_s: float) -> None:
    """Wait until a program listens on a loopback port; fail with its output otherwise."""
    until = time.monotonic() + deadline_s
    while time.monotonic() < until and program.running:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.02)
        else:
            return
    raise AssertionError(f"nothing listens on port {port}.\n{program.transcript()}")
