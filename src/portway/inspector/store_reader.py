"""Reads captured exchanges from their database, from any thread or process."""

import sqlite3
import threading
from pathlib import Path
from typing import Any
from urllib.parse import quote

from portway.errors import ConfigError, UnavailableError
from portway.inspector.query import NOTHING, Condition

BUSY_S_MAX = 5.0
"""How long a batch waits for that of another agent; only the recorder's thread waits."""

STEPS_MAX = 50_000
"""Calls of the progress handler, every 1,000 instructions: a search that takes many seconds is ended."""

SUMMARY = (
    "id, change, tunnel, url, origin, kind, state, started_at, duration_ms, method, host, target, status, content_type, client, error, "
    "request_bytes, response_bytes, replay_of, messages, redacted"
)


Row = dict[str, Any]
"""A row by column."""


class StoreReader:
    """Reads one database. Its methods may be called from any thread."""

    def __init__(self, reader: sqlite3.Connection, lock: "threading.RLock | None" = None) -> None:
        """Read from a connection; `lock` is held while it is used."""
        self._reader = reader
        self._lock = lock or threading.RLock()

    def page(self, condition: Condition = NOTHING, *, limit: int = 100, before: int = 0) -> list[Row]:
        """Return summaries, newest first; `before` is the id of the last one of the previous page."""
        where = f"({condition.sql})" + (" AND id < ?" if before else "")
        values = (*condition.values, before) if before else condition.values
        return self._rows(f"SELECT {SUMMARY} FROM exchanges WHERE {where} ORDER BY id DESC LIMIT ?", (*values, limit))  # noqa: S608

    def changes(self, after: int, condition: Condition = NOTHING, limit: int = 200) -> list[Row]:
        """Return summaries that changed after that change, in this order."""
        sql = f"SELECT {SUMMARY} FROM exchanges WHERE change > ? AND ({condition.sql}) ORDER BY change LIMIT ?"  # noqa: S608
        return self._rows(sql, (after, *condition.values, limit))

    def last_change(self) -> tuple[int, int]:
        """Return the number of the last change, and that of the last time when all was cleared."""
        row = self._rows("SELECT change, cleared FROM counter", ())[0]
        return int(row["change"]), int(row["cleared"])

    def find(self, number: int) -> Row | None:
        """Return all columns of one exchange."""
        rows = self._rows("SELECT * FROM exchanges WHERE id = ?", (number,))
        return rows[0] if rows else None

    def bodies(self, number: int) -> dict[int, Row]:
        """Return the bodies of an exchange by side."""
        return {int(row["side"]): row for row in self._rows("SELECT * FROM bodies WHERE exchange = ?", (number,))}

    def messages(self, number: int, *, after: int = 0, limit: int = 500) -> list[Row]:
        """Return frames or events of an exchange in their order."""
        return self._rows("SELECT * FROM messages WHERE exchange = ? AND id > ? ORDER BY id LIMIT ?", (number, after, limit))

    def replays(self, number: int) -> list[int]:
        """Return the ids of the replays of an exchange."""
        return [
            int(row["id"])
            for row in self._rows("SELECT id FROM exchanges WHERE replay_of = ? AND replay_of != 0 ORDER BY id LIMIT 100", (number,))
        ]

    def _rows(self, sql: str, values: tuple[object, ...]) -> list[Row]:
        """Run a query.

        Raises:
            UnavailableError: it takes too long, or the database cannot be read.
        """
        steps = 0

        def count_steps() -> int:
            nonlocal steps
            steps += 1
            return steps > STEPS_MAX

        with self._lock:
            self._reader.set_progress_handler(count_steps, 1000)
            try:
                cursor = self._reader.execute(sql, values)
                names = [column[0] for column in cursor.description]
                return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
            except sqlite3.Error as exc:
                if steps > STEPS_MAX:
                    raise UnavailableError("the search takes too long; restrict it with method, status, path or tunnel") from exc
                raise UnavailableError(f"captures cannot be read: {explain(exc)}") from exc
            finally:
                self._reader.set_progress_handler(None, 0)


def open_for_reading(path: Path) -> StoreReader:
    """Open a store that an agent may be writing to.

    Raises:
        ConfigError: there is none.
        UnavailableError: it cannot be read.
    """
    if not path.exists():
        raise ConfigError(f"{path}: nothing was captured yet; start an agent with --inspect, such as `portway http 3000` on a terminal")
    try:
        reader = connect(f"file:{quote(str(path))}?mode=ro", uri=True)
        reader.execute("SELECT change FROM counter").fetchone()
    except sqlite3.Error as exc:
        raise UnavailableError(f"{path}: cannot be read: {exc}") from exc
    return StoreReader(reader)


def connect(path: str, *, uri: bool = False) -> sqlite3.Connection:
    """Return a connection that any thread may use, with the functions of the query language."""
    db = sqlite3.connect(path, timeout=BUSY_S_MAX, isolation_level=None, check_same_thread=False, uri=uri)
    db.create_function("has_field", 3, _has_field, deterministic=True)
    return db


def _has_field(head: bytes, name: str, value: str) -> bool:
    """Return whether a head has a field of this name whose value contains `value`, ignoring case."""
    start = name.lower() + ":"
    lines = head.decode("latin-1").lower().split("\r\n")[1:]
    return any(line.startswith(start) and value.lower() in line[len(start) :] for line in lines)


def explain(exc: sqlite3.Error) -> str:
    """Return the reason of an error in plain words."""
    if getattr(exc, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL:
        return "the disk is full"
    return str(exc)
