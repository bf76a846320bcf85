"""A certificate from two files, read again when they change."""

import asyncio
from collections.abc import Callable
from pathlib import Path

from portway.certificates.contexts import VisitorContext, is_worn, visitor_context
from portway.clock import Clock
from portway.errors import ConfigError

CHECK_S = 10.0
"""Interval between checks of the files; certbot and others replace them hours before the old certificate ends."""

FILE_BYTES_MAX = 256 * 1024


class PairSource:
    """The certificate of one tunnel; the same for every name."""

    def __init__(self, cert: Path, key: Path, clock: Clock) -> None:
        """Read both files. `clock` is `clock.wall`. Blocks.

        Raises:
            ConfigError: a file cannot be read, or they do not match.
        """
        self._cert, self._key = cert, key
        self._clock = clock
        self._pem = _read(cert) + b"\n" + _read(key)
        self._made_at = clock()
        self._context = self._made(self._pem)

    def context_for(self, _name: str) -> VisitorContext | None:
        """Return the context of today."""
        if is_worn(self._context, self._clock() - self._made_at):
            self._context, self._made_at = visitor_context(self._pem), self._clock()
        return self._context

    async def watch(self, on_error: Callable[[str], None]) -> None:
        """Read the files again when they change, until cancelled. A pair that cannot be used is reported once, and the old one stays."""
        seen = await asyncio.to_thread(self._versions)
        while True:
            await asyncio.sleep(CHECK_S)
            found = await asyncio.to_thread(self._versions)
            if found == seen:
                continue
            seen = found
            try:
                pem, context = await asyncio.to_thread(self._reread)
            except ConfigError as exc:
                on_error(f"{exc}; the previous certificate stays in use")
            else:
                self._pem, self._context, self._made_at = pem, context, self._clock()

    def _reread(self) -> tuple[bytes, VisitorContext]:
        pem = _read(self._cert) + b"\n" + _read(self._key)
        return pem, self._made(pem)

    def _made(self, pem: bytes) -> VisitorContext:
        try:
            return visitor_context(pem)
        except ConfigError as exc:
            raise ConfigError(f"--cert, --key: {self._cert} and {self._key}: {exc}") from exc

    def _versions(self) -> list[tuple[int, int]]:
        found = []
        for path in (self._cert, self._key):
            try:
                info = path.stat()
            except OSError:
                found.append((0, 0))
            else:
                found.append((info.st_mtime_ns, info.st_size))
        return found


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(FILE_BYTES_MAX + 1)
    except OSError as exc:
        raise ConfigError(f"--cert, --key: {path}: cannot be read: {exc.strerror}") from exc
    if len(data) > FILE_BYTES_MAX:
        raise ConfigError(f"--cert, --key: {path}: too large: expected a PEM file of at most {FILE_BYTES_MAX} bytes")
    return data
