"""`python -m portway.forward.http_tunnel`: the command line of http-tunnel."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption
from cryptography.hazmat.primitives.serialization.pkcs12 import serialize_key_and_certificates

from portway.forward import http_tunnel
from tests.kit.certificates import client_context, make_identity

SOURCES = Path(http_tunnel.__file__).parents[2]

YAML = """
client_connection:
  initiation_timeout: 10s
  relay_policy: {idle_timeout: 30s, min_rate_bpm: 0, max_rate_bps: 10000000}
target_connection:
  dns_cache_ttl: 60s
  allowed_targets: "^127\\\\.0\\\\.0\\\\.1:[0-9]+$"
  connect_timeout: 10s
  relay_policy: {idle_timeout: 10s, min_rate_bpm: 0, max_rate_bps: 10000000, max_total_payload: 8b}
"""


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "portway.forward.http_tunnel", *words]


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(SOURCES), **more}


@contextmanager
def running(*words: str, **more: str) -> Iterator[tuple[int, subprocess.Popen[str]]]:
    """Run it with JSON events, and yield its port."""
    with subprocess.Popen(
        command("--json", *words), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(**more)
    ) as program:
        assert program.stdout is not None
        line = program.stdout.readline()
        assert line, program.stderr.read() if program.stderr else ""
        yield int(json.loads(line)["address"].rpartition(":")[2]), program
        program.send_signal(signal.SIGTERM)
        program.wait(10)


@pytest.fixture
def target() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(10)
        yield server


def status(port: int, target: str) -> int:
    found, sock = connect(port, target)
    sock.close()
    return found


def connect(port: int, target: str) -> tuple[int, socket.socket]:
    sock = socket.create_connection(("127.0.0.1", port), timeout=10)
    sock.sendall(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode())
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += sock.recv(1)
    return int(answer.split()[1]), sock


@pytest.mark.parametrize("where", ["flag", "file"])
def test_its_file_decides_about_targets_and_limits(target: socket.socket, tmp_path: Path, where: str) -> None:
    pytest.importorskip("yaml")
    pytest.importorskip("re2")
    config = tmp_path / "config.conf"
    config.write_text(YAML + ("  allow_private: true\n" if where == "file" else ""))
    private = ["--allow-private"] if where == "flag" else []
    with running(*private, "--config", str(config), "--bind", "127.0.0.1:0", "http") as (port, _):
        assert status(port, "localhost:80") == 403, "the expression does not match"
        found, sock = connect(port, f"127.0.0.1:{target.getsockname()[1]}")
        assert found == 200
        with sock:
            sock.sendall(b"12345678")
            accepted, _ = target.accept()
            with accepted:
                assert accepted.recv(100) == b"12345678"
                sock.sendall(b"9")
                with pytest.raises(ConnectionResetError):
                    accepted.recv(100)


def test_private_targets_are_refused_until_they_are_allowed(target: socket.socket) -> None:
    with running("--bind", "127.0.0.1:0", "http") as (port, _):
        assert status(port, f"127.0.0.1:{target.getsockname()[1]}") == 403


def test_a_fixed_destination_may_be_private_and_needs_no_expression(target: socket.socket, tmp_path: Path) -> None:
    pytest.importorskip("yaml")
    config = tmp_path / "config.yaml"
    config.write_text("target_connection: {allowed_targets: 'nothing'}")
    words = ("--config", str(config), "--bind", "127.0.0.1:0", "tcp", "-d", f"127.0.0.1:{target.getsockname()[1]}")
    with running(*words) as (port, _), socket.create_connection(("127.0.0.1", port), timeout=10) as sock:
        sock.sendall(b"hello")
        accepted, _ = target.accept()
        with accepted:
            assert accepted.recv(10) == b"hello"


def test_an_address_that_others_reach_is_open_with_a_warning() -> None:
    with running("--bind", "0.0.0.0:0", "http") as (_, program):
        assert program.stderr is not None
        assert "warning: 0.0.0.0:0 is open to all that can reach it, as with http-tunnel" in program.stderr.readline()


@pytest.mark.parametrize("source", ["file", "environment"])
def test_the_password_of_its_certificate_comes_from_a_file_or_the_environment(target: socket.socket, tmp_path: Path, source: str) -> None:
    identity = make_identity(tmp_path, "127.0.0.1")
    bundle, password = tmp_path / "domain.pfx", tmp_path / "password"
    bundle.write_bytes(serialize_key_and_certificates(b"proxy", identity.key, identity.certificate, None, BestAvailableEncryption(b"hush")))
    password.write_text("hush\n")
    password.chmod(0o600)
    words = ("--password-file", str(password)) if source == "file" else ()
    more = {} if source == "file" else {"PORTWAY_TLS_PASSWORD": "hush"}
    with (
        running("--allow-private", "--bind", "127.0.0.1:0", "https", "--pk", str(bundle), *words, **more) as (port, _),
        socket.create_connection(("127.0.0.1", port), timeout=10) as raw,
        client_context(identity).wrap_socket(raw, server_hostname="127.0.0.1") as sock,
    ):
        sock.sendall(f"CONNECT 127.0.0.1:{target.getsockname()[1]} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        assert sock.recv(100).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--bind", "127.0.0.1:0", "https", "--pk", "f", "--password", "hush"), "--password-file FILE, or set PORTWAY_TLS_PASSWORD"),
        (("--bind", "127.0.0.1:0", "https", "--password=hush", "--pk", "f"), "--password: not accepted"),
        (("--bind", "127.0.0.1:0", "https", "--pk", "/nowhere.pfx"), "/nowhere.pfx"),
        (("--config", "/nowhere.yaml", "--bind", "127.0.0.1:0", "http"), "/nowhere.yaml: cannot be read"),
        (("--bind", "here", "http"), "--listen: expected an address"),
        (("http",), "--bind"),
        (("--bind", "127.0.0.1:0", "quic"), "quic"),
    ],
)
def test_what_cannot_work_is_an_error_without_the_secret(words: tuple[str, ...], message: str) -> None:
    done = subprocess.run(command(*words), capture_output=True, text=True, env=environment(), timeout=20, check=False)

    assert done.returncode == 2
    assert message in done.stderr
    assert "hush" not in done.stderr
