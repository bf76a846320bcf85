"""Databases for a test, on a free port and in a temporary folder. Skips the test where they are missing."""

import os
import pwd
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.kit.programs import Program
from tests.kit.sockets import free_port

START_S = 60.0


def command(name: str, *folders: str) -> str:
    """Return the path of a command, or skip the test."""
    path = shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), *folders]))
    if path is None:
        pytest.skip(f"no {name} on this machine")
    return path


@contextmanager
def redis() -> Iterator[int]:
    """Run an empty Redis without persistence; yield its port."""
    server, port = command("redis-server"), free_port()
    with tempfile.TemporaryDirectory(prefix="pw-") as folder:
        options = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", folder]
        with Program([server, *options], name="redis-server") as program:
            program.expect("Ready to accept connections", START_S)
            yield port


@contextmanager
def postgres() -> Iterator[int]:
    """Run an empty PostgreSQL that trusts every login as `postgres`; yield its port."""
    newest_first = [str(path) for path in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)]
    initdb, server = command("initdb", *newest_first), command("postgres", *newest_first)
    with tempfile.TemporaryDirectory(prefix="pw-") as folder:
        as_user, data = _not_root(Path(folder)), f"{folder}/data"
        with Program([*as_user, initdb, "-D", data, "-U", "postgres", "--auth=trust", "--no-sync"], name="initdb") as program:
            made = program.wait(START_S)
        assert made.code == 0, made.err
        port = free_port()
        options = ["-D", data, "-p", str(port), "-c", "listen_addresses=127.0.0.1", "-c", "fsync=off", "-k", folder]
        with Program([*as_user, server, *options], name="postgres") as program:
            program.expect("ready to accept connections", START_S, stream="err")
            yield port
            program.stop(20)


def _not_root(folder: Path) -> list[str]:
    """Return a command prefix that runs it as user postgres instead of root, and give `folder` to that user."""
    if os.getuid() != 0:
        return []
    try:
        user = pwd.getpwnam("postgres")
    except KeyError:
        pytest.skip("postgres does not run as root, and there is no user postgres")
    os.chown(folder, user.pw_uid, user.pw_gid)
    return [command("setpriv"), f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
