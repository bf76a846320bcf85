"""Real forward proxies for tests: tinyproxy, squid, microsocks and dante, each on a free port of 127.0.0.1 with a user `ann`."""

import getpass
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.kit.programs import DEADLINE_S, Program
from tests.kit.sockets import free_port

USER, PASSWORD = "ann", "s3cret-of-ann"


@dataclass(frozen=True)
class RunningProxy:
    """A proxy that accepts connections."""

    scheme: str
    port: int
    authenticates: bool
    """Whether it requires USER and PASSWORD."""

    @property
    def url(self) -> str:
        """Its URL, without credentials."""
        return f"{self.scheme}://127.0.0.1:{self.port}"

    @property
    def url_with_credentials(self) -> str:
        """Its URL with the credentials it requires, percent-encoded."""
        return self.url.replace("://", f"://{USER}:s3cret%2Dof-ann@") if self.authenticates else self.url


def _program(name: str) -> str:
    path = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
    if path is None:
        pytest.skip(f"no {name} on this machine: scripts/test-deps installs it")
    return path


def _await_port(program: Program, port: int) -> None:
    until = time.monotonic() + DEADLINE_S
    while time.monotonic() < until:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            assert program.running, program.transcript()
            time.sleep(0.02)
        else:
            return
    raise AssertionError(f"it does not listen\n{program.transcript()}")


@contextmanager
def _running(scheme: str, port: int, words: list[str | Path], *, authenticates: bool, cwd: Path) -> Iterator[RunningProxy]:
    with Program(words, cwd=cwd) as program:
        _await_port(program, port)
        yield RunningProxy(scheme, port, authenticates)


@contextmanager
def tinyproxy(folder: Path, *, authenticates: bool) -> Iterator[RunningProxy]:
    """Run tinyproxy, an HTTP proxy."""
    program, port = _program("tinyproxy"), free_port()
    rules = f"BasicAuth {USER} {PASSWORD}\n" if authenticates else ""
    file = folder / "tinyproxy.conf"
    file.write_text(f"Port {port}\nListen 127.0.0.1\nTimeout 600\nMaxClients 100\n{rules}")
    with _running("http", port, [program, "-d", "-c", file], authenticates=authenticates, cwd=folder) as proxy:
        yield proxy


@contextmanager
def microsocks(folder: Path, *, authenticates: bool) -> Iterator[RunningProxy]:
    """Run microsocks, a SOCKS5 proxy."""
    program, port = _program("microsocks"), free_port()
    words: list[str | Path] = [program, "-i", "127.0.0.1", "-p", str(port)]
    if authenticates:
        words += ["-u", USER, "-P", PASSWORD]
    with _running("socks5", port, words, authenticates=authenticates, cwd=folder) as proxy:
        yield proxy


@contextmanager
def dante(folder: Path, *, authenticates: bool) -> Iterator[RunningProxy]:
    """Run dante, a SOCKS proxy; it checks passwords of the system's users only, so that it never authenticates here."""
    program, port = _program("danted"), free_port()
    if authenticates:
        pytest.skip("dante checks passwords of system users only")
    file = folder / "danted.conf"
    file.write_text(
        f"internal: 127.0.0.1 port = {port}\nexternal: lo\nsocksmethod: none\nclientmethod: none\nuser.unprivileged: {getpass.getuser()}\n"
        "logoutput: stderr\nclient pass { from: 0/0 to: 0/0 }\nsocks pass { from: 0/0 to: 0/0 }\n"
    )
    with _running("socks5", port, [program, "-f", file, "-p", folder / "danted.pid"], authenticates=False, cwd=folder) as proxy:
        yield proxy


@contextmanager
def squid(folder: Path, *, authenticates: bool) -> Iterator[RunningProxy]:
    """Run squid, an HTTP proxy, with one process and without a cache."""
    program, port = _program("squid"), free_port()
    rules = "http_access allow all\n"
    if authenticates:
        helper = next(
            (path for path in (Path("/usr/lib/squid/basic_ncsa_auth"), Path("/usr/lib64/squid/basic_ncsa_auth")) if path.exists()), None
        )
        if helper is None:
            pytest.skip("this squid has no basic_ncsa_auth")
        users = folder / "squid.users"
        digest = subprocess.run(["openssl", "passwd", "-apr1", PASSWORD], capture_output=True, text=True, check=True).stdout.strip()
        users.write_text(f"{USER}:{digest}\n")
        users.chmod(0o644)
        rules = f"auth_param basic program {helper} {users}\nacl known proxy_auth REQUIRED\nhttp_access allow known\nhttp_access deny all\n"
    logs = folder / "squid"
    logs.mkdir(mode=0o777, exist_ok=True)
    logs.chmod(0o777)
    for parent in (folder, *folder.parents[:3]):
        if parent.stat().st_uid == os.getuid() and parent != Path("/tmp"):
            parent.chmod(parent.stat().st_mode | 0o011)
    file = folder / "squid.conf"
    file.write_text(
        f"http_port 127.0.0.1:{port}\n{rules}cache deny all\npid_filename none\naccess_log none\ncache_log {logs}/cache.log\n"
        f"coredump_dir {logs}\ncache_store_log none\nnetdb_filename none\npinger_enable off\nvisible_hostname test\nshutdown_lifetime 0 seconds\n"
    )
    with _running("http", port, [program, "-N", "-f", file, "-n", f"test{port}"], authenticates=authenticates, cwd=folder) as proxy:
        yield proxy


PROXIES = (tinyproxy, squid, microsocks, dante)
"""Every real proxy."""
