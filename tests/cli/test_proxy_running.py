"""`portway proxy` as a program whose users change while it runs."""

import base64
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from portway.cli import proxy as proxy_module

SOURCES = Path(proxy_module.__file__).parents[2]
DEADLINE_S = 20.0


class Program:
    """A proxy with a file of users, and an origin that a test accepts from."""

    def __init__(self, folder: Path) -> None:
        self.users = folder / "users.txt"
        self.environment = {**os.environ, "PYTHONPATH": str(SOURCES), "PORTWAY_USERS": str(self.users), "XDG_RUNTIME_DIR": str(folder)}
        self.origin = socket.create_server(("127.0.0.1", 0))
        self.manage("add", "ann", password="sesame\n")
        words = ("--json", "--listen", "127.0.0.1:0", "--allow", f"127.0.0.1:{self.origin.getsockname()[1]}")
        self.process = subprocess.Popen(
            self.command(*words), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=self.environment
        )
        assert self.process.stdout is not None
        self.port = int(json.loads(self.process.stdout.readline())["address"].rpartition(":")[2])

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "portway", "proxy", *words]

    def manage(self, *words: str, password: str = "") -> None:
        subprocess.run(self.command("user", *words), input=password, text=True, env=self.environment, check=True, capture_output=True)

    def connect(self, user: str, password: str) -> tuple[int, socket.socket]:
        target = f"127.0.0.1:{self.origin.getsockname()[1]}"
        credentials = base64.b64encode(f"{user}:{password}".encode()).decode()
        sock = socket.create_connection(("127.0.0.1", self.port), timeout=DEADLINE_S)
        sock.sendall(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\nProxy-Authorization: Basic {credentials}\r\n\r\n".encode())
        answer = b""
        while b"\r\n\r\n" not in answer:
            data = sock.recv(1)
            assert data
            answer += data
        return int(answer.split()[1]), sock

    def until_notice(self, text: str) -> None:
        assert self.process.stdout is not None
        until = time.monotonic() + DEADLINE_S
        while time.monotonic() < until:
            event = json.loads(self.process.stdout.readline())
            if event["event"] == "notice" and text in event["text"]:
                return
        raise AssertionError(text)

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(DEADLINE_S)
        assert self.process.stdout is not None
        self.process.stdout.close()
        self.origin.close()


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Program]:
    found = Program(tmp_path)
    yield found
    found.close()


def test_users_are_added_and_removed_while_it_runs(program: Program) -> None:
    status, ann = program.connect("ann", "sesame")
    assert status == 200
    program.manage("add", "bob", password="barley\n")
    program.until_notice("2 users")
    status, bob = program.connect("bob", "barley")
    assert status == 200

    begun = time.monotonic()
    program.manage("remove", "ann")
    with ann, pytest.raises(ConnectionResetError):
        ann.recv(1)
    assert time.monotonic() - begun < 10, "about a second, on a machine that is not busy"
    program.process.send_signal(signal.SIGHUP)
    program.until_notice("1 users")
    program.until_notice("1 users")
    with bob:
        bob.settimeout(0.1)
        with pytest.raises(TimeoutError):
            bob.recv(1)
