"""The host lists of a running proxy: each file is read once, and again only when it has changed."""

import secrets
import threading
from collections.abc import Callable, Iterable
from pathlib import Path

from portway.config.versions import Version, version_of
from portway.errors import ConfigError
from portway.forward.policy.host_list import HostList
from portway.forward.policy.list_files import read_host_list

KEY_BYTES = 16

PAUSE_S = 0.000_3
"""After each millisecond of work: the interpreter's lock is free then, and the reactor goes on. A million names take about 3 s."""


class HostListStore:
    """Lists by path. `load` blocks, and is called in a thread; it does not touch lists that are in use."""

    def __init__(self) -> None:
        """Choose the key of this process."""
        self._key = secrets.token_bytes(KEY_BYTES)
        self._lists: dict[Path, tuple[Version, HostList]] = {}

    def load(
        self, paths: Iterable[Path], pause: Callable[[], None] = lambda: None, on_error: Callable[[ConfigError], None] | None = None
    ) -> dict[Path, HostList]:
        """Return the lists at `paths`, read again if they have changed, and forget all others.

        With `on_error`, a list that is broken now stays as it was, and the error is passed on.

        Raises:
            ConfigError: a file cannot be read or is invalid, and there is no older list to use.
        """
        lists = {}
        for path in paths:
            version = version_of(path)
            known = self._lists.get(path)
            if known is None or version is None or known[0] != version:
                known = self._read(path, version, pause, on_error)
            lists[path] = known
        self._lists = lists
        return {path: found for path, (_, found) in lists.items()}

    def _read(
        self, path: Path, version: Version, pause: Callable[[], None], on_error: Callable[[ConfigError], None] | None
    ) -> tuple[Version, HostList]:
        try:
            return version, read_host_list(path, self._key, pause)
        except ConfigError as exc:
            known = self._lists.get(path)
            if known is None or on_error is None:
                raise
            on_error(exc)
            return version, known[1]


def pause_for_reactor() -> None:
    """Wait without the interpreter's lock for a moment."""
    threading.Event().wait(PAUSE_S)
