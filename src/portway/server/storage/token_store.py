"""Keeps what must survive a restart, in SQLite: the tokens, without their secrets."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import NamedTuple, Protocol, Self

import msgspec

from portway.config.files import is_private_file, write_secret
from portway.config.values import PortRange
from portway.engine.policy import UNLIMITED, Policy
from portway.errors import ConfigError, UnavailableError
from portway.protocol.scram import ScramVerifier
from portway.server.access.tokens import Grants, TokenRecord
from portway.server.storage.database import Opened, open_database, stamps_of

FILE = "server.db"
"""The database's name in the data directory."""

MIGRATIONS = (
    """
    CREATE TABLE tokens (
        id TEXT PRIMARY KEY,
        name TEXT NOT NULL,
        salt BLOB NOT NULL,
        iterations INTEGER NOT NULL,
        stored_key BLOB NOT NULL,
        server_key BLOB NOT NULL,
        grants TEXT NOT NULL,
        created_at REAL NOT NULL,
        revoked_at REAL
    ) WITHOUT ROWID;
    CREATE UNIQUE INDEX live_token_names ON tokens (name) WHERE revoked_at IS NULL;
    """,
    """
    CREATE TABLE database (id TEXT NOT NULL);
    INSERT INTO database VALUES (lower(hex(randomblob(16))));
    """,
)
"""Step N brings `user_version` from N to N + 1. Steps are added, never changed."""

_HAS_ID = 2
"""The first schema whose database has an id."""


class Approve(Protocol):
    """Decides whether a database is the right one, before anything is done to it."""

    def __call__(self, database_id: str, *, empty: bool) -> None:
        """Raise ConfigError when it is not; the id is empty for one that was made before there were ids."""


def _anything(database_id: str, *, empty: bool) -> None:
    """Approve of any database."""


class Store:
    """The tokens of one data directory, shared with other processes (`portway token` while the server runs).

    Every method is synchronous, and takes microseconds or, when the database is locked or the disk is slow, seconds: never
    call one on a loop that serves (see `token_reader`). One thread at a time may use an instance.
    """

    def __init__(self, path: Path, *, make: bool = True, approve: Approve = _anything) -> None:
        """Open the database at `path`, make it (mode 0600) if it is missing, and bring it up to date.

        Without `make` neither happens. Where the disk is full or read-only, a copy in memory is read instead, and `fixed` says why.

        Raises:
            ConfigError: the file is missing, not approved of, somebody else's, readable by others, no database, or of a newer Portway.
            UnavailableError: it is locked, or cannot be read now.
        """
        self.path = path
        self.database_id = ""
        """What no other database has; empty for one that was made before there were ids, and is not brought up to date."""
        self._make = make
        self._approve = approve
        self._copies = 0
        """How many copies were made, after the first one."""
        if not is_private_file(path):
            if not make:
                raise ConfigError(f"{path}: does not exist")
            write_secret(path, b"", replace=False)  # SQLite gives its -wal and -shm files the mode of this one
        with self._told():
            self._opened = self._open()
            self.database_id = _id_of(self._db)

    @property
    def _db(self) -> sqlite3.Connection:
        return self._opened.db

    @property
    def fixed(self) -> str:
        """Why nothing can be written; empty when it can."""
        return self._opened.fixed

    def check_whole(self) -> None:
        """Make sure that every page of the database can be read and fits the others; 100,000 tokens take a tenth of a second.

        Raises:
            ConfigError: it is damaged, or files of two databases were mixed.
        """
        with self._told():
            found = self._db.execute("PRAGMA quick_check(1)").fetchone()[0]
        if found != "ok":
            raise ConfigError(f"{self.path}: is damaged ({found}); restore it from a backup, with no -wal and -shm file beside it")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the file back; may be called twice."""
        self._db.close()

    def create_token(self, token: TokenRecord) -> None:
        """Keep a new token.

        Raises:
            ConfigError: a token of that name is there and not revoked.
        """
        verifier = token.verifier
        row = (token.id, token.name, verifier.salt, verifier.iterations, verifier.stored_key, verifier.server_key)
        grants = _grants_to_text(token.grants)
        self._check_writable()
        with self._told():
            try:
                self._db.execute(
                    "INSERT INTO tokens VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", (*row, grants, token.created_at, token.revoked_at)
                )
            except sqlite3.IntegrityError as exc:
                raise ConfigError(
                    f"token {token.name} is there already; choose another NAME or run `portway token revoke {token.name}` first"
                ) from exc

    def tokens(self) -> list[TokenRecord]:
        """Return all tokens, the revoked ones too, oldest first."""
        with self._told():
            return [self._record(row) for row in self._db.execute(f"{_SELECT} ORDER BY created_at, id")]

    def find(self, token_id: str) -> TokenRecord | None:
        """Return the token with this id, revoked or not."""
        with self._told():
            row = self._db.execute(f"{_SELECT} WHERE id = ?", (token_id,)).fetchone()
            if row is None:
                self._check_id(self._db)  # tokens are never deleted: perhaps this is some other database by now
        return None if row is None else self._record(row)

    def revoke(self, name: str, now: float) -> TokenRecord:
        """Mark the token of this name as revoked at `now` (`clock.wall`) and return it.

        Raises:
            ConfigError: no live token has that name.
        """
        with self._told():
            row = self._db.execute(f"{_SELECT} WHERE name = ? AND revoked_at IS NULL", (name,)).fetchone()
            if row is None:
                raise ConfigError(f"no token is called {name}; `portway token list` shows those there are")
            token = self._record(row)
            self._check_writable()
            self._db.execute("UPDATE tokens SET revoked_at = ? WHERE id = ? AND revoked_at IS NULL", (now, token.id))
        return replace(token, revoked_at=now)

    def version(self) -> tuple[int, ...]:
        """Return what is another value after each write of another process or connection; costs a few microseconds.

        What this instance itself writes does not count. A copy is made anew when the file was written to.

        Raises:
            ConfigError: the file was taken away, or another one put in its place.
            UnavailableError: it cannot be read now.
        """
        with self._told():
            stamps = stamps_of(self.path)
            if self.fixed and stamps != self._opened.stamps:
                before, self._opened = self._opened, self._open()
                before.db.close()
                self._copies += 1
            elif stamps[0] != self._opened.stamps[0]:
                raise ConfigError(
                    f"{self.path}: was removed or replaced while it is in use; stop the server, put the right one there, and start it again"
                )
            return (self._copies, self._data_version())

    def _record(self, columns: tuple[object, ...]) -> TokenRecord:
        try:
            row = msgspec.convert(columns, _Row)
            return TokenRecord(
                id=row.id,
                name=row.name,
                verifier=ScramVerifier(salt=row.salt, iterations=row.iterations, stored_key=row.stored_key, server_key=row.server_key),
                grants=_grants_from_text(row.grants),
                created_at=row.created_at,
                revoked_at=row.revoked_at,
            )
        except msgspec.ValidationError as exc:
            raise ConfigError(f"{self.path}: holds a token that this version does not understand: {exc}; update Portway") from exc

    def _data_version(self) -> int:
        version: int = self._db.execute("PRAGMA data_version").fetchone()[0]
        return version

    def _open(self) -> Opened:
        return open_database(self.path, self._check, (lambda db: _migrate(db, self.path)) if self._make else None)

    def _check(self, db: sqlite3.Connection) -> None:
        """Make sure that a connection just opened is to the right database."""
        if (schema := _schema(db)) > len(MIGRATIONS):
            raise _too_new(self.path, schema)
        self._check_id(db)
        self._approve(_id_of(db), empty=not schema)
        if not schema and not self._make:
            raise ConfigError(f"{self.path}: is empty")

    def _check_id(self, db: sqlite3.Connection) -> None:
        """Make sure that it is still the database that was opened."""
        if self.database_id and _id_of(db) != self.database_id:
            raise ConfigError(f"{self.path}: was replaced by another database while it is in use; put the right one back")

    def _check_writable(self) -> None:
        if self.fixed:
            raise UnavailableError(f"{self.path}: cannot be written: {self.fixed}; make room there or make it writable, then try again")

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Translate what SQLite raises."""
        try:
            yield
        except sqlite3.OperationalError as exc:
            raise UnavailableError(f"{self.path}: {exc}; try again") from exc
        except sqlite3.DatabaseError as exc:
            raise ConfigError(f"{self.path}: is no database of Portway: {exc}") from exc
        except OSError as exc:
            raise UnavailableError(f"{self.path}: cannot be read: {exc.strerror}") from exc


def _too_new(path: Path, schema: int) -> ConfigError:
    return ConfigError(f"{path}: was made by a newer Portway (schema {schema}, this one knows {len(MIGRATIONS)}); update it")


def _id_of(db: sqlite3.Connection) -> str:
    if not _HAS_ID <= _schema(db) <= len(MIGRATIONS):
        return ""
    row = db.execute("SELECT id FROM database").fetchone()
    return str(row[0]) if row else ""


def _schema(db: sqlite3.Connection) -> int:
    version: int = db.execute("PRAGMA user_version").fetchone()[0]
    return version


def _migrate(db: sqlite3.Connection, path: Path) -> None:
    """Bring the schema up to date, in one transaction that another process waits for."""
    if _schema(db) == len(MIGRATIONS):
        return  # without writing: others would take it for a change of the tokens
    db.execute("BEGIN IMMEDIATE")
    try:
        version = _schema(db)
        if version > len(MIGRATIONS):  # made while we waited
            raise _too_new(path, version)
        if not version and db.execute("SELECT name FROM sqlite_master LIMIT 1").fetchone():
            raise ConfigError(f"{path}: is the database of some other program")
        for step in MIGRATIONS[version:]:
            for statement in step.split(";"):  # not executescript: it would commit what stands before
                db.execute(statement)
        db.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
        db.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.OperationalError):  # SQLite has rolled back by itself when the disk is full
            db.execute("ROLLBACK")
        raise


class _Row(NamedTuple):
    """Columns in the order of the table."""

    id: str
    name: str
    salt: bytes
    iterations: int
    stored_key: bytes
    server_key: bytes
    grants: str
    created_at: float
    revoked_at: float | None


_SELECT = f"SELECT {', '.join(_Row._fields)} FROM tokens"  # noqa: S608 - our own column names


class _LimitsText(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """A policy as JSON; what does not limit is left out."""

    idle_timeout_s: float | None = None
    min_rate_bpm: int | None = None
    max_rate_bps: int | None = None
    bandwidth_bps: int | None = None
    max_lifetime_s: float | None = None
    max_total_payload: int | None = None


class _GrantsText(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """Grants as JSON in one column: they are only ever read whole.

    Unknown fields are refused: a limit that a newer Portway wrote must not be lost on an older one. A field that came
    later has a default, which is left out: what does not use it can be read by those before.
    """

    hosts: tuple[str, ...]
    ports: tuple[str, ...]
    protocols: tuple[str, ...]
    tunnels_max: int
    expires_at: float | None
    limits: _LimitsText | None = None


def _grants_to_text(grants: Grants) -> str:
    ports = tuple(str(ports) for ports in grants.ports)
    limits = None if grants.policy.is_unlimited else _LimitsText(**asdict(grants.policy))
    text = _GrantsText(grants.hosts, ports, grants.protocols, grants.tunnels_max, grants.expires_at, limits)
    return msgspec.json.encode(text).decode()


def _grants_from_text(text: str) -> Grants:
    found = msgspec.json.decode(text, type=_GrantsText)
    return Grants(
        hosts=found.hosts,
        ports=tuple(PortRange.parse(ports) for ports in found.ports),
        protocols=found.protocols,
        tunnels_max=found.tunnels_max,
        expires_at=found.expires_at,
        policy=UNLIMITED if found.limits is None else Policy(**msgspec.structs.asdict(found.limits)),
    )
