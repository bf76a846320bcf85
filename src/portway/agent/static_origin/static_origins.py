"""Runs the origins without a port of one agent, each in a thread behind a unix socket of its own."""

import itertools
import os
import socket
from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary, finalize

from portway.agent.settings import TunnelRequest
from portway.agent.target import Target
from portway.config.paths import runtime_dir
from portway.errors import ConfigError

if TYPE_CHECKING:
    from portway.web.embedded_server import ServerThread

BACKLOG = 1024
"""Connections that wait while the thread starts: the server opens one per concurrent request."""


class StaticOrigins:
    """Starts an origin when its tunnel is first used; safe to call from any thread."""

    def __init__(self, folder: Callable[[], Path] = runtime_dir) -> None:
        """Create sockets in `folder()`, which only this user can enter."""
        self._folder = folder
        self._lock = Lock()
        self._numbers = itertools.count(1)
        self._targets: WeakKeyDictionary[TunnelRequest, Target] = WeakKeyDictionary()
        self._running: dict[Path, ServerThread] = {}

    def target_of(self, request: TunnelRequest) -> Target:
        """Return what to connect to for a tunnel: its own target, or the socket of its static origin.

        Raises:
            ConfigError: the socket cannot be created.
        """
        if not request.target.is_static:
            return request.target
        with self._lock:
            found = self._targets.get(request)
            if found is None:
                found = self._targets[request] = self._start(request.target)
                finalize(request, self._stop, Path(found.path)).atexit = False  # a closed tunnel's origin
            return found

    def close(self) -> None:
        """Stop all origins. Blocks for seconds if requests are running."""
        for path in list(self._running):
            self._stop(path)

    def _start(self, target: Target) -> Target:
        path = self._folder() / f"static-{os.getpid()}-{next(self._numbers)}.origin"  # `portway status` queries *.sock
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            path.unlink(missing_ok=True)
            sock.bind(str(path))
            sock.listen(BACKLOG)
        except OSError as exc:
            sock.close()
            raise ConfigError(f"{path}: cannot create the socket of a static origin: {exc.strerror}") from exc
        self._running[path] = _serve(target, sock)
        return Target(path=str(path))

    def _stop(self, path: Path) -> None:
        thread = self._running.pop(path, None)
        if thread is not None:
            thread.stop()
            path.unlink(missing_ok=True)


def _serve(target: Target, sock: socket.socket) -> "ServerThread":
    # Imported when the first static origin starts: other agents need neither the 10 MB nor the time.
    from portway.agent.static_origin.fixed_response import FixedResponse  # noqa: PLC0415
    from portway.agent.static_origin.folder import Folder  # noqa: PLC0415
    from portway.web.embedded_server import ServerThread  # noqa: PLC0415

    app = Folder(target.directory, listing=target.listing) if target.directory else FixedResponse(target.status, target.body)
    return ServerThread(app, sock, f"static origin {target.text}")
