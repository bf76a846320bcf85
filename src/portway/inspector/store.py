"""Stores captured exchanges in SQLite: bounded by size, trimmed by age, safe against a kill and a full disk."""

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from portway.config.files import is_private_file, write_secret
from portway.errors import ConfigError, UnavailableError
from portway.inspector.store_reader import StoreReader, connect, explain

FILE = "captures.db"
"""The database's name in the agent's data directory. Agents with the same directory share it."""

SCHEMA_VERSION = 1
SCHEMA = """
    CREATE TABLE exchanges (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        change INTEGER NOT NULL,
        agent INTEGER NOT NULL,
        tunnel TEXT NOT NULL,
        url TEXT NOT NULL,
        origin TEXT NOT NULL,
        kind TEXT NOT NULL,
        state TEXT NOT NULL,
        started_at REAL NOT NULL,
        duration_ms REAL,
        timings TEXT NOT NULL DEFAULT '{}',
        method TEXT NOT NULL DEFAULT '',
        host TEXT NOT NULL DEFAULT '',
        target TEXT NOT NULL DEFAULT '',
        status INTEGER NOT NULL DEFAULT 0,
        content_type TEXT NOT NULL DEFAULT '',
        client TEXT NOT NULL DEFAULT '',
        error TEXT NOT NULL DEFAULT '',
        request_bytes INTEGER NOT NULL DEFAULT 0,
        response_bytes INTEGER NOT NULL DEFAULT 0,
        request_head BLOB NOT NULL DEFAULT x'',
        response_head BLOB NOT NULL DEFAULT x'',
        redacted TEXT NOT NULL DEFAULT '[]',
        replay_of INTEGER NOT NULL DEFAULT 0,
        messages INTEGER NOT NULL DEFAULT 0,
        messages_missed INTEGER NOT NULL DEFAULT 0
    );
    CREATE INDEX exchanges_by_change ON exchanges (change);
    CREATE INDEX exchanges_by_original ON exchanges (replay_of) WHERE replay_of != 0;
    CREATE INDEX exchanges_open ON exchanges (agent) WHERE state = 'open';
    CREATE TABLE bodies (
        exchange INTEGER NOT NULL REFERENCES exchanges (id) ON DELETE CASCADE,
        side INTEGER NOT NULL,
        size INTEGER NOT NULL,
        state TEXT NOT NULL,
        coding TEXT NOT NULL,
        data BLOB NOT NULL,
        PRIMARY KEY (exchange, side)
    );
    CREATE TABLE messages (
        id INTEGER PRIMARY KEY,
        exchange INTEGER NOT NULL REFERENCES exchanges (id) ON DELETE CASCADE,
        side INTEGER NOT NULL,
        at REAL NOT NULL,
        kind TEXT NOT NULL,
        name TEXT NOT NULL DEFAULT '',
        size INTEGER NOT NULL,
        state TEXT NOT NULL,
        data BLOB NOT NULL
    );
    CREATE INDEX messages_by_exchange ON messages (exchange, id);
    CREATE TABLE counter (change INTEGER NOT NULL, cleared INTEGER NOT NULL);
    INSERT INTO counter VALUES (0, 0);
"""

TRIM_RATIO = 0.9
"""After the limit was reached, the oldest exchanges are removed until this part of it is used."""

TRIM_STEPS = 100
TRIM_ROWS_MAX = 200
"""The oldest of so many parts is removed at a time, until enough is free: exchanges differ in size."""

WAL_BYTES_MAX = 8 * 1024 * 1024
MEMORY_BYTES_MAX = 32 * 1024 * 1024
"""Limit of a store in memory, for an agent whose data directory cannot be used."""


class Usage(NamedTuple):
    """What the store contains."""

    exchanges: int
    bytes: int
    bytes_max: int
    error: str
    """Why nothing can be stored at the moment; empty while it can."""
    in_memory: str
    """Why nothing is stored on disk; empty if it is."""


class Store(StoreReader):
    """The captures of one data directory. `transaction` is for the recorder's thread, everything else for any other."""

    def __init__(self, path: Path | None, bytes_max: int) -> None:
        """Open or create the database (mode 0600); without a path, or if that fails, it is in memory."""
        self.path = path
        self.bytes_max = bytes_max
        self.error = ""
        self.in_memory = "" if path is not None else "the agent has no data directory"
        self._lock = self._write_lock = threading.RLock()
        if path is not None:
            self._lock = threading.RLock()
            try:
                self._open(path)
                return
            except (ConfigError, sqlite3.Error, OSError) as exc:
                self.in_memory = str(exc)
        self.bytes_max = min(bytes_max, MEMORY_BYTES_MAX)
        self._writer = self._reader = connect(":memory:")
        self._lock = self._write_lock  # one connection for both
        self._prepare()

    def _open(self, path: Path) -> None:
        if not is_private_file(path):
            write_secret(path, b"", replace=False)  # SQLite gives its -wal and -shm files the mode of this one
        self._writer = connect(str(path))
        try:
            version = self._writer.execute("PRAGMA user_version").fetchone()[0]
            if version > SCHEMA_VERSION:
                raise ConfigError(f"{path}: written by a newer version of Portway")
            self._writer.execute("PRAGMA auto_vacuum = INCREMENTAL")
            self._writer.execute("PRAGMA journal_mode = WAL")
            self._writer.execute("PRAGMA synchronous = NORMAL")
            self._writer.execute(f"PRAGMA journal_size_limit = {WAL_BYTES_MAX}")
            self._prepare()
            self._reader = connect(str(path))
        except BaseException:
            self._writer.close()
            raise

    def _prepare(self) -> None:
        self._writer.execute("PRAGMA foreign_keys = ON")
        self._writer.execute("BEGIN IMMEDIATE")
        try:
            if self._writer.execute("PRAGMA user_version").fetchone()[0] == 0:
                for statement in SCHEMA.split(";"):
                    self._writer.execute(statement)
                self._writer.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
            agents = self._writer.execute("SELECT DISTINCT agent FROM exchanges WHERE state = 'open'").fetchall()
            for (agent,) in agents:
                if not _is_alive(agent):
                    sql = "UPDATE exchanges SET state = 'broken', error = 'the agent ended' WHERE state = 'open' AND agent = ?"
                    self._writer.execute(sql, (agent,))
            self._writer.execute("COMMIT")
        except BaseException:
            self._writer.execute("ROLLBACK")
            raise

    def close(self) -> None:
        """Close the database; waits for a transaction."""
        with self._write_lock, self._lock:
            with suppress(sqlite3.Error):
                self._writer.execute("PRAGMA wal_checkpoint(PASSIVE)")
            self._writer.close()
            self._reader.close()

    # Writing.

    @contextmanager
    def transaction(self) -> Iterator["Batch"]:
        """Run a batch; nothing of it is stored after an error.

        Raises:
            sqlite3.Error: as SQLite does; `error` has the reason.
        """
        with self._write_lock:
            db = self._writer
            try:
                db.execute("BEGIN IMMEDIATE")
                batch = Batch(db)
                yield batch
                batch.finish()
                db.execute("COMMIT")
            except BaseException as exc:
                if isinstance(exc, sqlite3.Error):
                    self.error = explain(exc)
                with suppress(sqlite3.Error):
                    db.execute("ROLLBACK")
                raise
            self.error = ""

    def trim(self) -> int:
        """Remove the oldest exchanges if the limit is reached; return how many."""
        removed = 0
        with self._write_lock:
            if used_bytes(self._writer) <= self.bytes_max:
                return 0
            first, last = self._writer.execute("SELECT coalesce(min(id), 0), coalesce(max(id), 0) FROM exchanges").fetchone()
            step = min(TRIM_ROWS_MAX, (last - first) // TRIM_STEPS + 1)
            while used_bytes(self._writer) > self.bytes_max * TRIM_RATIO:
                oldest = "SELECT id FROM exchanges ORDER BY id LIMIT ?"
                count = self._writer.execute(f"DELETE FROM exchanges WHERE id IN ({oldest})", (step,)).rowcount  # noqa: S608
                if not count:
                    break
                removed += count
        return removed

    def clear(self) -> None:
        """Remove all exchanges.

        Raises:
            UnavailableError: the disk does not allow it.
        """
        with self._write_lock:
            try:
                with self.transaction() as batch:
                    batch.clear()
                if not self.in_memory:
                    self._writer.execute("PRAGMA incremental_vacuum")
            except sqlite3.Error as exc:
                raise UnavailableError(f"captures not removed: {explain(exc)}") from exc

    def usage(self) -> Usage:
        """Return what the store contains."""
        count = int(self._rows("SELECT count(*) AS count FROM exchanges", ())[0]["count"])
        with self._lock:
            used = used_bytes(self._reader)
        return Usage(count, used, self.bytes_max, self.error, self.in_memory)


def used_bytes(db: sqlite3.Connection) -> int:
    """Return the bytes of a database without free pages."""
    pages, free, size = (int(db.execute(f"PRAGMA {name}").fetchone()[0]) for name in ("page_count", "freelist_count", "page_size"))
    return (pages - free) * size


class Batch:
    """The statements of one transaction."""

    def __init__(self, db: sqlite3.Connection) -> None:
        """Begin with the number of the last change."""
        self._db = db
        self._change: int = db.execute("SELECT change FROM counter").fetchone()[0]

    def insert(self, columns: dict[str, object]) -> int:
        """Insert an exchange and return its id."""
        self._change += 1
        names = ", ".join(columns)
        marks = ", ".join("?" * len(columns))
        sql = f"INSERT INTO exchanges (change, agent, {names}) VALUES (?, ?, {marks})"  # noqa: S608
        cursor = self._db.execute(sql, (self._change, os.getpid(), *columns.values()))
        return cursor.lastrowid or 0

    def update(self, number: int, columns: dict[str, object]) -> bool:
        """Change an exchange; return whether it is still there."""
        self._change += 1
        names = ", ".join(f"{name} = ?" for name in columns)
        sql = f"UPDATE exchanges SET change = ?, {names} WHERE id = ?"  # noqa: S608
        return self._db.execute(sql, (self._change, *columns.values(), number)).rowcount > 0

    def add_body(self, number: int, side: int, size: int, state: str, coding: str, data: bytes) -> None:
        """Store the body of one side."""
        self._db.execute("INSERT OR REPLACE INTO bodies VALUES (?, ?, ?, ?, ?, ?)", (number, side, size, state, coding, data))

    def add_message(self, number: int, side: int, at: float, kind: str, name: str, size: int, state: str, data: bytes) -> None:  # noqa: PLR0913, PLR0917
        """Store a frame or an event; nothing if its exchange was removed meanwhile."""
        row = (side, at, kind, name, size, state, data, number)
        sql = (
            "INSERT INTO messages (exchange, side, at, kind, name, size, state, data) "
            "SELECT id, ?, ?, ?, ?, ?, ?, ? FROM exchanges WHERE id = ?"
        )
        self._db.execute(sql, row)

    def count_messages(self, number: int, count: int, missed: int) -> None:
        """Add to the number of messages of an exchange."""
        self._change += 1
        sql = "UPDATE exchanges SET change = ?, messages = messages + ?, messages_missed = ? WHERE id = ?"
        self._db.execute(sql, (self._change, count, missed, number))

    def clear(self) -> None:
        """Remove everything, and note it as a change."""
        self._change += 1
        self._db.execute("DELETE FROM exchanges")
        self._db.execute("UPDATE counter SET cleared = ?", (self._change,))

    def finish(self) -> None:
        """Store the number of the last change."""
        self._db.execute("UPDATE counter SET change = ?", (self._change,))


def _is_alive(process: int) -> bool:
    """Return whether another process with this id exists; this one has just started."""
    if process == os.getpid():
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
