"""The first bytes that real TLS clients send: each is started against a listener, which only reads."""

import contextlib
import os
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from tests.kit.certificates import client_context, make_identity
from tests.kit.go_peer import build_go
from tests.kit.sockets import tcp_listener

HOST = "App.tunnel.example.org"
"""With a capital: clients send names as they were typed."""

CLIENT_S_MAX = 30.0
"""A browser may take seconds to start."""

SHARED_BYTES_MAX = 1 << 20
POST_QUANTUM = {"GODEBUG": "tlsmlkem=1"}
"""Go offers its post-quantum key share by default from version 1.24 on, but not to programs with an older go.mod."""

GO_SOURCE = Path(__file__).resolve().parents[1] / "peers" / "tls_go"


def is_whole(wire: bytes) -> bool:
    """Return whether all records of a hello that lies in whole records are here."""
    message, left = b"", wire
    while len(left) >= 5:
        size = int.from_bytes(left[3:5], "big")
        message += left[5 : 5 + size]
        left = left[5 + size :]
    return len(message) >= 4 and len(message) >= 4 + int.from_bytes(message[1:4], "big")


def captured(start: Callable[[int], contextlib.AbstractContextManager[object]], enough: Callable[[bytes], bool] = is_whole) -> bytes:
    """Return what the client sends first that `start` runs against a port."""
    with tcp_listener() as listener:
        listener.settimeout(CLIENT_S_MAX)
        with start(listener.getsockname()[1]):
            sock, _ = listener.accept()
            with sock:
                sock.settimeout(CLIENT_S_MAX)
                wire = b""
                while not enough(wire):
                    piece = sock.recv(65536)
                    assert piece, f"the client ended the connection after {len(wire)} bytes"
                    wire += piece
                    assert len(wire) < SHARED_BYTES_MAX
                return wire


@contextlib.contextmanager
def running(*argv: str | Path) -> Iterator[None]:
    """Run a program, and end it."""
    with subprocess.Popen(
        argv, env=os.environ | POST_QUANTUM, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            yield
        finally:
            process.kill()


def _program(name: str, *others: str) -> str:
    for one in (name, *others):
        if path := shutil.which(one):
            return path
    pytest.skip(f"no {name} on this machine")


def openssl(*options: str | Path, host: str = HOST, enough: Callable[[bytes], bool] = is_whole) -> bytes:
    program = _program("openssl")
    return captured(lambda port: running(program, "s_client", "-connect", f"127.0.0.1:{port}", "-servername", host, *options), enough)


def curl(*options: str) -> bytes:
    program = _program("curl")
    return captured(lambda port: running(program, "-sk", *options, "--resolve", f"{HOST}:{port}:127.0.0.1", f"https://{HOST}:{port}/"))


def go(*options: str) -> bytes:
    program = build_go(GO_SOURCE, "tlspeer", ("main.go", "go.mod"))
    return captured(lambda port: running(program, "-connect", f"127.0.0.1:{port}", "-name", HOST, *options))


def node(*protocols: str) -> bytes:
    program = _program("node")
    return captured(
        lambda port: running(
            program,
            "-e",
            f"require('tls').connect({{host: '127.0.0.1', port: {port}, servername: '{HOST}', ALPNProtocols: {list(protocols)!r}}})"
            ".on('error', () => {})",
        )
    )


def chromium(folder: Path) -> bytes:
    program = _program("chromium", "chromium-browser", "google-chrome")
    quiet = ("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking")
    return captured(
        lambda port: running(
            program,
            *quiet,
            f"--user-data-dir={folder}",
            # The profile's own connections lead nowhere.
            f"--host-resolver-rules=MAP app.tunnel.example.org 127.0.0.1:{port}, MAP * ~NOTFOUND",
            "--dump-dom",
            f"https://{HOST}/",
        )
    )


def python(host: str | None = HOST, protocols: Sequence[str] = (), newest: ssl.TLSVersion = ssl.TLSVersion.MAXIMUM_SUPPORTED) -> bytes:
    """Return the hello of the ssl module, sent over a socket."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.maximum_version = newest
    if protocols:
        context.set_alpn_protocols(list(protocols))

    @contextlib.contextmanager
    def connecting(port: int) -> Iterator[None]:
        def connect() -> None:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), CLIENT_S_MAX) as sock:
                context.wrap_socket(sock, server_hostname=host).close()

        thread = threading.Thread(target=connect)
        thread.start()
        try:
            yield
        finally:
            # The listener's end of the connection is closed by then.
            thread.join(CLIENT_S_MAX)

    return captured(connecting)


def resuming(folder: Path, newest: ssl.TLSVersion) -> bytes:
    """Return the hello of a client that offers a session ticket: in pre_shared_key with TLS 1.3, in session_ticket before it."""
    identity = make_identity(folder, HOST)
    server, client = identity.server_context(), client_context(identity)
    client.maximum_version = newest
    session, wire, reused = None, b"", False
    for _ in range(2):
        to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
        caller = client.wrap_bio(to_client, to_server, server_hostname=HOST, session=session)
        callee = server.wrap_bio(to_server, to_client, server_side=True)
        wire = b""
        for _ in range(4):
            with contextlib.suppress(ssl.SSLWantReadError):
                caller.do_handshake()
                caller.read(1)
            if not wire:
                wire = to_server.read()
                to_server.write(wire)
            with contextlib.suppress(ssl.SSLWantReadError):
                callee.do_handshake()
        session, reused = caller.session, caller.session_reused
    assert reused
    return wire


def with_early_data(folder: Path) -> bytes:
    """Return the first flight of openssl's client that sends data along with its hello (RFC 8446 section 2.3)."""
    program, identity = _program("openssl"), make_identity(folder, HOST)
    session, data = folder / "session.pem", folder / "data"
    data.write_bytes(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    with tcp_listener() as free:
        port = free.getsockname()[1]
    serving = subprocess.Popen(
        [program, "s_server", "-accept", f"127.0.0.1:{port}", "-cert", identity.cert_file, "-key", identity.key_file, "-early_data"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        assert serving.stdout is not None
        while b"ACCEPT" not in (line := serving.stdout.readline()):
            assert line, "openssl s_server cannot listen"
        asking = subprocess.Popen(
            [program, "s_client", "-connect", f"127.0.0.1:{port}", "-servername", HOST, "-sess_out", session, "-ign_eof"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        until = time.monotonic() + CLIENT_S_MAX
        while not session.exists() or b"END SSL SESSION" not in session.read_bytes():
            assert time.monotonic() < until, "openssl s_server gives no ticket"
            time.sleep(0.01)
    finally:
        serving.kill()
        serving.communicate()
    asking.wait(CLIENT_S_MAX)
    return openssl("-sess_in", session, "-early_data", data, enough=lambda wire: b"\x17\x03\x03" in wire[-200:])
