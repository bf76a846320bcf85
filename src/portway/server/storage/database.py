"""Opens a SQLite file: to be written where that is possible, else as a copy in memory of all that was committed."""

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
"""How long one statement waits for another process's write; ours take a millisecond."""

COPY_BYTES_MAX = 256 * 1024 * 1024
"""The largest database that is copied into memory: a million tokens. A larger one needs a disk that can be written."""

COPY_TRIES = 5
"""How often a copy is made again because somebody wrote meanwhile; one takes about a millisecond."""

_COMMITTED = ("", "-wal", "-journal")
"""The files that hold what was committed, by what is appended to the name. `-shm` holds nothing that they do not."""

_CANNOT_WRITE = {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM}

Step = Callable[[sqlite3.Connection], None]
"""What is done with a connection before it counts as open."""


class Opened(NamedTuple):
    """An open database."""

    db: sqlite3.Connection
    fixed: str
    """Why nothing can be written, in which case this is a copy in memory; empty when it is the file itself."""
    stamps: tuple[int, ...]
    """The files as they were then (`stamps_of`)."""


def open_database(path: Path, check: Step, update: Step | None) -> Opened:
    """Open the database at `path`, which is there, make sure with `check` that it is the right one, then bring it up to date.

    Nothing is written before `check` has returned, nor without `update`. Use the connection from one thread at a time.

    SQLite makes files beside a database even to read it, which a full or read-only disk does not allow. Its `immutable`
    does without, but passes over what is not merged into the database yet, which may be a revocation: then a copy is
    recovered elsewhere.

    Raises:
        sqlite3.Error: it is locked, damaged, or no database.
        ConfigError: it is too large to be copied, or has to be recovered and there is no room for that anywhere.
        UnavailableError: somebody else writes to it all the time.
    """
    fixed = f"{path.parent} is read-only here" if not _may_write(path) else ""
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
            return Opened(_taken(copy, check, update), fixed, stamps)
        copy.close()
    raise UnavailableError(f"{path}: cannot be written ({fixed}), and was written to by somebody else while it was copied; try again")


def stamps_of(path: Path) -> tuple[int, ...]:
    """Return what is another value after every write to the database: inode, size and time of its files."""
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

    return _taken(sqlite3.connect(path, timeout=BUSY_S_MAX, isolation_level=None, check_same_thread=False), prepare, update)


def _taken(db: sqlite3.Connection, *steps: Step | None) -> sqlite3.Connection:
    """Return `db` once the steps are done; close it when one fails."""
    try:
        for step in steps:
            if step is not None:
                step(db)
        db.execute("PRAGMA user_version").fetchone()  # SQLite makes the files beside it now, so that it fails here if it fails
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
    """Open the database for one reading, without writing anything beside it."""
    there = [suffix for suffix in _COMMITTED if _size(f"{path}{suffix}")]
    if sum(_size(f"{path}{suffix}") for suffix in there) > COPY_BYTES_MAX:
        raise ConfigError(
            f"{path}: is larger than {COPY_BYTES_MAX} bytes, and cannot be written; make room on its disk, or make it writable"
        )
    if not {"-wal", "-journal"} & set(there):
        with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro&immutable=1", uri=True)) as source:
            yield source
        return
    with _recovered(path, there) as source:
        yield source


@contextmanager
def _recovered(path: Path, suffixes: list[str]) -> Iterator[sqlite3.Connection]:
    """Open a copy of the files in a folder that only we can reach, where SQLite can merge them."""
    faults = []
    for place in _places():
        try:
            folder = TemporaryDirectory(prefix="portway-", dir=place)
        except OSError as exc:
            faults.append(f"{place}: {exc.strerror}")
            continue
        with folder as name:
            copy = Path(name, path.name)
            try:
                for suffix in suffixes:
                    Path(f"{copy}{suffix}").write_bytes(Path(f"{path}{suffix}").read_bytes())
                source = _taken(sqlite3.connect(copy))
            except (OSError, sqlite3.OperationalError) as exc:
                faults.append(f"{place}: {exc}")
                continue
            with closing(source):
                yield source
            return
    raise ConfigError(
        f"{path}: cannot be written, and {path.name}-wal holds changes that have to be merged first, for which there is no room: "
        f"{'; '.join(faults)}. Make room, or name a folder with room in TMPDIR"
    )


def _places() -> list[str]:
    """Return where temporary files may be put: in memory, for the disk may be the full one."""
    places = [place for place in (os.environ.get("XDG_RUNTIME_DIR", ""), "/dev/shm") if place.startswith("/")]  # noqa: S108 - a folder of our own in it
    with suppress(FileNotFoundError):  # not one of those that Python knows can be written
        places.append(gettempdir())
    return places


def _size(path: str) -> int:
    try:
        return Path(path).stat().st_size
    except FileNotFoundError:
        return 0
