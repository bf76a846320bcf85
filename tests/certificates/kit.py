"""Handshakes in memory, PEM bundles, and real programs, for tests of certificates."""

import asyncio
import contextlib
import functools
import os
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, NamedTuple, ParamSpec

import pytest

from portway.clock import wall
from tests.kit.certificates import Identity, make_identity
from tests.kit.sockets import tcp_listener

P = ParamSpec("P")

NO_CHECK_TIME = 0x200000
"""X509_V_FLAG_NO_CHECK_TIME: accept certificates of another time."""


class Joined(NamedTuple):
    """Two ends of a TLS connection after the handshake."""

    client: ssl.SSLObject
    server: ssl.SSLObject
    to_server: ssl.MemoryBIO
    to_client: ssl.MemoryBIO


class Clock:
    """The wall clock, which a test sets forward."""

    def __init__(self) -> None:
        self.offset_s = 0.0

    def __call__(self) -> float:
        return wall() + self.offset_s


def bundle(identity: Identity) -> bytes:
    """Return key and certificate as one PEM."""
    return identity.key_file.read_bytes() + identity.cert_file.read_bytes()


def new_bundle(folder: Path, *names: str, signed_by: Identity | None = None) -> bytes:
    return bundle(make_identity(folder, *names, signed_by=signed_by))


def trusting(path: Path | str | None = None, *, newest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3, pem: bytes = b"") -> ssl.SSLContext:
    """Return a client context that trusts a file or a PEM."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(path, cadata=pem.decode() or None)
    context.maximum_version = newest
    return context


def join(server_side: ssl.SSLContext, client_side: ssl.SSLContext, host: str, session: ssl.SSLSession | None = None) -> Joined:
    """Complete a handshake in memory; raises ssl.SSLError as the client or the server does."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_side.wrap_bio(to_client, to_server, server_hostname=host, session=session)
    server = server_side.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(4):
        with contextlib.suppress(ssl.SSLWantReadError):
            client.do_handshake()
            client.read(1)
        with contextlib.suppress(ssl.SSLWantReadError):
            server.do_handshake()
    server.write(b"x")
    assert client.read(1) == b"x"
    return Joined(client, server, to_server, to_client)


def in_loop(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Run a coroutine function as a test."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        asyncio.run(test(*args, **kwargs))

    return run


@contextlib.contextmanager
def https_server(context: ssl.SSLContext) -> Iterator[int]:
    """Serve every TLS connection one HTTP response; yield the port."""
    with tcp_listener() as listener:

        def serve() -> None:
            while True:
                try:
                    sock, _ = listener.accept()
                except OSError:
                    return
                with sock, contextlib.suppress(OSError), context.wrap_socket(sock, server_side=True) as tls:
                    tls.recv(65536)
                    tls.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(10)


def curl(host: str, port: int, *options: str | Path) -> subprocess.CompletedProcess[str]:
    """Request https://host:port/ on loopback with curl."""
    program = installed("curl")
    where = ("--silent", "--show-error", "--max-time", "10", "--noproxy", "*", "--resolve", f"{host}:{port}:127.0.0.1")
    return subprocess.run([program, *where, *options, f"https://{host}:{port}/"], capture_output=True, text=True, check=False)


def installed(program: str) -> str:
    """Return the path of a program; skip if it is missing."""
    path = shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin")
    if path is None:
        pytest.skip(f"{program} is not installed; see scripts/test-deps")
    return path
