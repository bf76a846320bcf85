"""The inspector of one agent: recorder, store and API, wired together."""

import hashlib
import os
import secrets
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from portway.config.files import write_secret
from portway.config.values import ListenAddress
from portway.errors import ConfigError
from portway.inspector.api import Api
from portway.inspector.guard import Guard
from portway.inspector.hub import Hub
from portway.inspector.interfaces import AgentPort
from portway.inspector.lookup import Lookup
from portway.inspector.recorder import Recorder
from portway.inspector.redaction import Redaction
from portway.inspector.settings import InspectorSettings
from portway.inspector.store import FILE, Store
from portway.inspector.writing import Writer
from portway.telemetry.logs import get_log
from portway.web.embedded_server import ServerThread

PORTS_TRIED = 100
"""Ports from the requested one on that are tried if it is taken."""

BACKLOG = 64

log = get_log(__name__)


class KeyFile(msgspec.Struct):
    """What commands need to use the API of a running agent."""

    pid: int
    url: str
    key: str


class Inspector:
    """Captures and serves. Create it in the agent's loop; `close` blocks for at most a few seconds."""

    def __init__(self, settings: InspectorSettings, agent: AgentPort) -> None:
        """Start the threads of recorder and API.

        Raises:
            ConfigError: no port is free, or a pattern is invalid.
        """
        redaction = Redaction(settings.redact, enabled=settings.redacts)
        self._settings = settings
        self._socket = listen(settings.listen)
        self._hub = Hub()
        self._store = Store(None if settings.data_dir is None else settings.data_dir / FILE, settings.capture_bytes_max)
        self._writer = Writer(self._store, redaction, settings.body_bytes_max, self._hub.notify)
        self.recorder = Recorder(self._writer.write, settings.body_bytes_max)
        self._writer.breathe = self.recorder.breathe
        self.address = ListenAddress(*self._socket.getsockname()[:2])
        self._key = "" if settings.is_open else secrets.token_urlsafe(24)
        self._key_path: Path | None = None
        api = Api(Lookup(self._store, self._writer.originals), self._hub, agent, self._capture_status)
        cookie = f"portway_inspector_{self.address.port}"
        session = hashlib.sha256(f"portway session {self._key}".encode()).hexdigest()
        app = Guard(api.app, allowed_hosts(self.address), self._key, session, cookie)
        self._thread = ServerThread(app, self._socket, "inspector")
        self._write_key()

    @property
    def url(self) -> str:
        """The address of the page, without the key."""
        return f"http://{self.address}/"

    @property
    def page_url(self) -> str:
        """The address of the page with the key, for the user's eyes only."""
        return f"{self.url}?key={self._key}" if self._key else self.url

    @property
    def problem(self) -> str:
        """Why captures are not stored on disk; empty if they are."""
        return self._store.in_memory

    def close(self) -> None:
        """Store what is queued, and end all threads."""
        self._hub.close()
        self._thread.stop()
        self.recorder.close()
        self._store.close()
        if self._key_path is not None:
            self._key_path.unlink(missing_ok=True)

    def _write_key(self) -> None:
        folder = self._settings.runtime_dir
        if folder is None:
            return
        path = key_file(folder, os.getpid())
        try:
            write_secret(path, msgspec.json.encode(KeyFile(os.getpid(), self.url, self._key)), replace=True)
        except ConfigError as exc:
            log.warning("commands cannot find the inspector", reason=exc)
        else:
            self._key_path = path

    def _capture_status(self) -> dict[str, Any]:
        usage = self._store.usage()
        recorder = self.recorder
        return {
            "exchanges": usage.exchanges,
            "bytes": usage.bytes,
            "bytes_max": usage.bytes_max,
            "body_bytes_max": self._settings.body_bytes_max,
            "redacts": self._settings.redacts,
            "error": usage.error,
            "in_memory": usage.in_memory,
            "dropped": recorder.dropped + self._writer.lost,
            "dropped_bodies": recorder.dropped_bodies,
        }


def key_file(folder: Path, process: int) -> Path:
    """Return where an agent writes its key."""
    return folder / f"inspector-{process}.json"


def allowed_hosts(address: ListenAddress) -> frozenset[str]:
    """Return the values of Host that are this address: no other name can resolve to it without being an attack."""
    names = ("127.0.0.1", "localhost", "[::1]")
    port = address.port
    return frozenset([*(f"{name}:{port}" for name in names), *(names if port == 80 else ())])


def listen(wanted: ListenAddress, try_listen: Callable[[ListenAddress], socket.socket] | None = None) -> socket.socket:
    """Return a socket that listens on the address, or on the next free port.

    Raises:
        ConfigError: none is free.
    """
    open_socket = try_listen or _listen_on
    reason: str | None = ""
    last = wanted.port + (PORTS_TRIED if wanted.port else 1)
    for port in range(wanted.port, min(last, 65536)):
        try:
            return open_socket(ListenAddress(wanted.host, port))
        except OSError as exc:
            reason = exc.strerror
    raise ConfigError(f"--inspect: cannot listen on {wanted} or a port after it: {reason}")


def _listen_on(address: ListenAddress) -> socket.socket:
    host = "127.0.0.1" if address.host == "localhost" else address.host
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, address.port))
        sock.listen(BACKLOG)
    except OSError:
        sock.close()
        raise
    return sock
