"""Files that change while a proxy runs with open tunnels."""

import asyncio
import base64
import contextlib
import dataclasses
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from portway.credentials.password_file import PROXY_USERS, remove_user, set_user
from portway.forward.app import serve
from portway.forward.config import reloading as reloading_module
from portway.forward.config.loading import load_forward_settings
from portway.forward.config.reloading import ForwardReloading
from portway.forward.events import Listening, Notice
from portway.forward.settings import ForwardSettings
from tests.forward.users.test_directory import cheap_hash

DEADLINE_S = 10.0


class Running:
    """A proxy as `portway proxy` runs it, in a thread, with a configuration file that tests change; and an echoing target."""

    def __init__(self, folder: Path) -> None:
        self.config, self.users, self.ads = folder / "proxy.toml", folder / "users.txt", folder / "ads.txt"
        self.events: list[object] = []
        set_user(self.users, "ann", str(cheap_hash(b"sesame")), PROXY_USERS)
        set_user(self.users, "bob", str(cheap_hash(b"barley")), PROXY_USERS)
        self.ads.write_text("ads.example\n")
        self.write("")
        self._loop: asyncio.AbstractEventLoop
        self._stop: asyncio.Event
        self.reloading: ForwardReloading
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))
        self.echo = socket.create_server(("127.0.0.1", 0))
        self._echoing = threading.Thread(target=self._serve_echo, daemon=True)

    def write(self, more: str, first: str = "allow_private = true") -> None:
        draft = self.config.with_suffix(".new")
        draft.write_text(f'[proxy]\nlisten = "127.0.0.1:0"\n{first}\nusers = "{self.users}"\nblock_list = ["{self.ads}"]\n{more}\n')
        draft.replace(self.config)

    def load(self) -> ForwardSettings:
        return load_forward_settings(flags={}, environ={}, file=self.config)

    async def _run(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        self.reloading = ForwardReloading(self.load, self.config)
        await serve(self.load(), on_event=self.events.append, stop=self._stop, reloading=self.reloading)

    def _serve_echo(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.echo.accept()
                threading.Thread(target=self._echo_one, args=(client,), daemon=True).start()

    def _echo_one(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError), client:
            while data := client.recv(1000):
                client.sendall(data)

    def start(self) -> None:
        self._thread.start()
        self._echoing.start()
        self.until(lambda: any(isinstance(event, Listening) for event in self.events))

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(DEADLINE_S)
        self.echo.close()

    def hangup(self) -> None:
        self._loop.call_soon_threadsafe(self.reloading.on_hangup)

    def until(self, condition: Callable[[], bool]) -> None:
        until = time.monotonic() + DEADLINE_S
        while not condition():
            assert time.monotonic() < until, self.notices
            time.sleep(0.01)

    @property
    def notices(self) -> list[str]:
        return [event.text for event in self.events if isinstance(event, Notice)]

    def until_noticed(self, text: str, count: int = 1) -> None:
        self.until(lambda: sum(text in notice for notice in self.notices) >= count)

    def connect(self, user: str, password: str, target: str = "") -> tuple[int, socket.socket]:
        """Return the status of a CONNECT, and the socket."""
        address = next(event.address for event in self.events if isinstance(event, Listening))
        sock = socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2])), timeout=DEADLINE_S)
        target = target or f"127.0.0.1:{self.echo.getsockname()[1]}"
        credentials = base64.b64encode(f"{user}:{password}".encode()).decode()
        sock.sendall(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\nProxy-Authorization: Basic {credentials}\r\n\r\n".encode())
        answer = b""
        while b"\r\n\r\n" not in answer:
            data = sock.recv(1)
            assert data, answer
            answer += data
        return int(answer.split(b" ")[1]), sock

    def status(self, user: str, password: str, target: str = "") -> int:
        status, sock = self.connect(user, password, target)
        sock.close()
        return status


@pytest.fixture
def running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    monkeypatch.setattr(reloading_module, "CHECK_S", 0.05)
    found = Running(tmp_path)
    found.start()
    yield found
    found.close()


def echoes(sock: socket.socket) -> bool:
    sock.sendall(b"ping")
    return sock.recv(4) == b"ping"


def test_removing_a_user_ends_its_tunnels_and_no_others(running: Running) -> None:
    (ann_status, ann), (bob_status, bob) = running.connect("ann", "sesame"), running.connect("bob", "barley")
    assert (ann_status, bob_status) == (200, 200)
    assert running.status("ann", "wrong") == 407
    remove_user(running.users, "ann", PROXY_USERS)

    begun = time.monotonic()
    with ann, pytest.raises(ConnectionResetError):
        ann.recv(1)
    assert time.monotonic() - begun < 5
    with bob:
        assert echoes(bob)
    assert running.status("ann", "sesame") == 407
    assert running.status("bob", "barley") == 200


def test_lists_patterns_and_limits_change_without_ending_a_tunnel(running: Running) -> None:
    status, sock = running.connect("ann", "sesame")
    assert status == 200
    assert running.status("ann", "sesame", "x.ads.example:80") == 403
    running.ads.write_text("other.example\n")
    running.until_noticed("configuration reloaded: 0 patterns, 1 listed names, 2 users")
    assert running.status("ann", "sesame", "x.other.example:80") == 403

    running.write('block = ["*:1-65535"]\nmax_total_payload = "4B"\n[proxy.user.bob]\nmax_tunnels = "1"')
    running.until_noticed("configuration reloaded: 1 patterns")
    assert running.status("ann", "sesame") == 403
    running.write('max_total_payload = "4B"')
    running.until_noticed("configuration reloaded: 0 patterns", 2)
    limited_status, limited = running.connect("ann", "sesame")
    assert limited_status == 200
    with limited:
        limited.sendall(b"12345678")
        with pytest.raises(ConnectionResetError):
            while limited.recv(100):
                pass
    with sock:
        assert all(echoes(sock) for _ in range(5)), "a tunnel keeps the limits that it began with"


def test_a_broken_file_changes_nothing_and_is_reported(running: Running) -> None:
    running.write("blok = 1")
    running.until_noticed("$.proxy.blok: unknown setting; did you mean block?")
    running.until_noticed("a file with errors stays as it was")
    assert running.status("ann", "sesame") == 200

    running.ads.write_text("this is not a list\n")
    running.until_noticed("invalid host list")
    assert running.status("ann", "sesame", "x.ads.example:80") == 403, "the old list is in effect"


def test_a_user_is_removed_while_another_file_is_broken(running: Running) -> None:
    running.write("blok = 1")
    running.until_noticed("$.proxy.blok")
    remove_user(running.users, "ann", PROXY_USERS)
    running.until_noticed("1 users")

    assert running.status("ann", "sesame") == 407


def test_a_signal_reads_the_files_at_once(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    running.hangup()

    running.until_noticed("configuration reloaded: 0 patterns, 1 listed names, 2 users")


def test_what_needs_a_restart_is_named(running: Running) -> None:
    running.write("", 'dns_cache_ttl = "1s"\nvia = ["*.invalid=direct"]\nallow_private = false')
    running.until_noticed("changes apply at the next start: dns_cache_ttl, via")
    assert running.status("ann", "sesame") == 403

    running.config.write_text('[proxy]\nlisten = "127.0.0.1:0"\n')
    running.until_noticed("users: adding or removing the file of users requires a restart")
    assert running.status("eve", "x") == 407


def test_settings_that_need_a_restart_exist() -> None:
    names = {field.name for field in dataclasses.fields(ForwardSettings)}

    assert set(reloading_module.AT_START) <= names
