"""Opens a SQLite file for writing or, where the disk does not allow that, as a copy in memory of everything committed."""

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from typing import NamedTuple
from urllib.parse import quote

from portway.config.paths import is_read_only
from portway.errors import ConfigError, UnavailableError

BUSY_S_MAX = 2.0
"""How long a statement waits for another process's write; a write takes a millisecond."""

COPY_BYTES_MAX = 256 * 1024 * 1024
"""The largest database that is copied into memory: a million tokens. A larger one needs a writable disk."""

COPY_TRIES = 5
"""How often copying is tried, as another process may write meanwhile; one try takes about a millisecond."""

_COMMITTED = ("", "-wal", "-journal")
"""Suffixes of the files with committed data. `-shm` contains nothing in addition."""

_CANNOT_WRITE = {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM}

Step = Callable[[sqlite3.Connection], None]
"""An action on a connection before it counts as open."""


class Opened(NamedTuple):
    """An open database."""

    db: sqlite3.Connection
    fixed: str
    """Why the file cannot be written, if this is a copy in memory; empty when it is the file itself."""
    stamps: tuple[int, ...]
    """The state of the files when it was opened (`stamps_of`)."""


def open_database(path: Path, check: Step, update: Step | None) -> Opened:
    """Open the existing database at `path`, verify it with `check`, then migrate it with `update`.

    Nothing is written before `check` has returned, nor without `update`. Use the connection from one thread at a time.

    SQLite creates files beside a database even to read it, which a full or read-only disk does not allow. Its `immutable` option
    avoids that, but ignores changes that are not merged into the database yet, which may be a revocation: in that case a copy is
    recovered in another directory.

    Raises:
        sqlite3.Error: it is locked, damaged, or not a database.
        ConfigError: it is too large to be copied, or there is no space for a copy that has to be recovered.
        UnavailableError: another process keeps writing to it.
    """
    fixed = f"{path.parent} is read-only" if not _may_write(path) else ""
    if not fixed:
        try:
            return Opened(_writable(path, check, update), "", stamps_of(path))
        except sqlite3.OperationalError as exc:
            if exc.sqlite_errorcode & 0xFF not in _CANNOT_WRITE:
                raise
            fixed = str(exc)
    for _ in range(COPY_TRIES):
        stamps = stamps_of(path)
        with _readable(path) as source:
            copy = _in_memory(source)
        if stamps_of(path) == stamps:
            return Opened(_prepared(copy, check, update), fixed, stamps)
        copy.close()
    raise UnavailableError(f"{path}: cannot be written ({fixed}), and another process changed it while it was copied; try again")


def stamps_of(path: Path) -> tuple[int, ...]:
    """Return a value that changes with every write to the database: inode, size and time of its files."""
    found: tuple[int, ...] = ()
    for suffix in _COMMITTED:
        try:
            info = Path(f"{path}{suffix}").stat()
        except FileNotFoundError:
            found += (0, 0, 0)
        else:
            found += (info.st_ino, info.st_size, info.st_mtime_ns)
    return found


def _may_write(path: Path) -> bool:
    return os.access(path, os.R_OK | os.W_OK) and os.access(path.parent, os.W_OK | os.X_OK) and not is_read_only(path)


def _writable(path: Path, check: Step, update: Step | None) -> sqlite3.Connection:
    def prepare(db: sqlite3.Connection) -> None:
        check(db)
        db.execute("PRAGMA synchronous = FULL")  # a printed join string must outlive a power cut
        if update is not None:
            db.execute("PRAGMA journal_mode = WAL")

    return _prepared(sqlite3.connect(path, timeout=BUSY_S_MAX, isolation_level=None, check_same_thread=False), prepare, update)


def _prepared(db: sqlite3.Connection, *steps: Step | None) -> sqlite3.Connection:
    """Run the steps and return `db`; close it when one fails."""
    try:
        for step in steps:
            if step is not None:
                step(db)
        db.execute("PRAGMA user_version").fetchone()  # SQLite creates the files beside it now, so that a failure occurs here
    except BaseException:
        db.close()
        raise
    return db


def _in_memory(source: sqlite3.Connection) -> sqlite3.Connection:
    memory = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    try:
        source.backup(memory)
    except BaseException:
        memory.close()
        raise
    return memory


@contextmanager
def _readable(path: Path) -> Iterator[sqlite3.Connection]:
    """Open the database for one read, without writing anything beside it."""
    there = [suffix for suffix in _COMMITTED if _size(f"{path}{suffix}")]
    if sum(_size(f"{path}{suffix}") for suffix in there) > COPY_BYTES_MAX:
        raise ConfigError(f"{path}: larger than {COPY_BYTES_MAX} bytes, and cannot be written; free space on its disk, or make it writable")
    if not {"-wal", "-journal"} & set(there):
        with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro&immutable=1", uri=True)) as source:
            yield source
        return
    with _recovered(path, there) as source:
        yield source


@contextmanager
def _recovered(path: Path, suffixes: list[str]) -> Iterator[sqlite3.Connection]:
    """Open a copy of the files in a private temporary directory, where SQLite can merge them."""
    errors = []
    for directory in _temporary_directories():
        try:
            folder = TemporaryDirectory(prefix="portway-", dir=directory)
        except OSError as exc:
            errors.append(f"{directory}: {exc.strerror}")
            continue
        with folder as name:
            copy = Path(name, path.name)
            try:
                for suffix in suffixes:
                    Path(f"{copy}{suffix}").write_bytes(Path(f"{path}{suffix}").read_bytes())
                source = _prepared(sqlite3.connect(copy))
            except (OSError, sqlite3.OperationalError) as exc:
                errors.append(f"{directory}: {exc}")
                continue
            with closing(source):
                yield source
            return
    raise ConfigError(
        f"{path}: cannot be written, and there is no space to merge the changes in {path.name}-wal: {'; '.join(errors)}. "
        "Free some space, or set TMPDIR to a directory with space"
    )


def _temporary_directories() -> list[str]:
    """Return candidates for temporary files: first in memory, as the disk may be full."""
    paths = [path for path in (os.environ.get("XDG_RUNTIME_DIR", ""), "/dev/shm") if path.startswith("/")]  # noqa: S108 - a private folder in it
    with suppress(FileNotFoundError):  # none of Python's own candidates is writable
        paths.append(gettempdir())
    return paths


def _size(path: str) -> int:
    try:
        return Path(path).stat().st_size
    except FileNotFoundError:
        return 0
