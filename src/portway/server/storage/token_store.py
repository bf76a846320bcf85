"""Stores tokens in SQLite: verifiers, never secrets."""

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
"""Step N raises `user_version` from N to N + 1. Steps are added, never changed."""

_HAS_ID = 2
"""The first schema whose database has an id."""


class Approve(Protocol):
    """Decides whether a database is the right one, before it is used."""

    def __call__(self, database_id: str, *, empty: bool) -> None:
        """Raise ConfigError when it is not; the id is empty for a database from before ids existed."""


def _approve_any(database_id: str, *, empty: bool) -> None:
    """Approve any database."""


class Store:
    """The tokens of one data directory, shared with other processes (`portway token` while the server runs).

    Every method is synchronous and takes microseconds, or seconds when the database is locked or the disk is slow: never
    call one on a serving loop (see `token_reader`). One thread at a time may use an instance.
    """

    def __init__(self, path: Path, *, make: bool = True, approve: Approve = _approve_any) -> None:
        """Open the database at `path`, create it (mode 0600) if it is missing, and migrate it.

        Without `make`, it is neither created nor migrated. If the disk is full or read-only, a copy in memory is read instead, and
        `fixed` contains the reason.

        Raises:
            ConfigError: the file is missing, not approved, owned by another user, readable by others, not a database, or of a newer Portway.
            UnavailableError: it is locked, or cannot be read now.
        """
        self.path = path
        self.database_id = ""
        """Unique id of the database; empty for one from before ids existed that was not migrated."""
        self._make = make
        self._approve = approve
        self._copies = 0
        """Copies made after the first one."""
        if not is_private_file(path):
            if not make:
                raise ConfigError(f"{path}: does not exist")
            write_secret(path, b"", replace=False)  # SQLite gives its -wal and -shm files the mode of this one
        with self._translated_errors():
            self._opened = self._open()
            self.database_id = _id_of(self._db)

    @property
    def _db(self) -> sqlite3.Connection:
        return self._opened.db

    @property
    def fixed(self) -> str:
        """Why the database cannot be written; empty when it can."""
        return self._opened.fixed

    def check_whole(self) -> None:
        """Check every page of the database; 100,000 tokens take a tenth of a second.

        Raises:
            ConfigError: it is damaged, or files of two databases were mixed.
        """
        with self._translated_errors():
            found = self._db.execute("PRAGMA quick_check(1)").fetchone()[0]
        if found != "ok":
            raise ConfigError(f"{self.path}: damaged ({found}); restore it from a backup, with no -wal and -shm file beside it")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the database; may be called twice."""
        self._db.close()

    def create_token(self, token: TokenRecord) -> None:
        """Store a new token.

        Raises:
            ConfigError: a token of that name exists and is not revoked.
        """
        verifier = token.verifier
        row = (token.id, token.name, verifier.salt, verifier.iterations, verifier.stored_key, verifier.server_key)
        grants = _grants_to_text(token.grants)
        self._check_writable()
        with self._translated_errors():
            try:
                self._db.execute(
                    "INSERT INTO tokens VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", (*row, grants, token.created_at, token.revoked_at)
                )
            except sqlite3.IntegrityError as exc:
                raise ConfigError(
                    f"token {token.name} already exists; choose another NAME or run `portway token revoke {token.name}` first"
                ) from exc

    def tokens(self) -> list[TokenRecord]:
        """Return all tokens, including revoked ones, oldest first."""
        with self._translated_errors():
            return [self._record(row) for row in self._db.execute(f"{_SELECT} ORDER BY created_at, id")]

    def find(self, token_id: str) -> TokenRecord | None:
        """Return the token with this id, revoked or not."""
        with self._translated_errors():
            row = self._db.execute(f"{_SELECT} WHERE id = ?", (token_id,)).fetchone()
            if row is None:
                self._check_id(self._db)  # tokens are never deleted: the database may have been replaced
        return None if row is None else self._record(row)

    def revoke(self, name: str, now: float) -> TokenRecord:
        """Mark the token of this name as revoked at `now` (`clock.wall`) and return it.

        Raises:
            ConfigError: no live token has that name.
        """
        with self._translated_errors():
            row = self._db.execute(f"{_SELECT} WHERE name = ? AND revoked_at IS NULL", (name,)).fetchone()
            if row is None:
                raise ConfigError(f"unknown token {name}; see `portway token list`")
            token = self._record(row)
            self._check_writable()
            self._db.execute("UPDATE tokens SET revoked_at = ? WHERE id = ? AND revoked_at IS NULL", (now, token.id))
        return replace(token, revoked_at=now)

    def version(self) -> tuple[int, ...]:
        """Return a value that changes with each write of another process or connection; takes a few microseconds.

        Writes of this instance do not count. A copy in memory is renewed after the file was written.

        Raises:
            ConfigError: the file was removed or replaced.
            UnavailableError: it cannot be read now.
        """
        with self._translated_errors():
            stamps = stamps_of(self.path)
            if self.fixed and stamps != self._opened.stamps:
                before, self._opened = self._opened, self._open()
                before.db.close()
                self._copies += 1
            elif stamps[0] != self._opened.stamps[0]:
                raise ConfigError(f"{self.path}: removed or replaced while in use; stop the server, restore the file, and start it again")
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
            raise ConfigError(f"{self.path}: contains a token that this version does not support: {exc}; update Portway") from exc

    def _data_version(self) -> int:
        version: int = self._db.execute("PRAGMA data_version").fetchone()[0]
        return version

    def _open(self) -> Opened:
        return open_database(self.path, self._check, (lambda db: _migrate(db, self.path)) if self._make else None)

    def _check(self, db: sqlite3.Connection) -> None:
        """Check that a connection just opened is to the right database."""
        if (schema := _schema(db)) > len(MIGRATIONS):
            raise _too_new(self.path, schema)
        self._check_id(db)
        self._approve(_id_of(db), empty=not schema)
        if not schema and not self._make:
            raise ConfigError(f"{self.path}: empty")

    def _check_id(self, db: sqlite3.Connection) -> None:
        """Check that this is still the database that was opened."""
        if self.database_id and _id_of(db) != self.database_id:
            raise ConfigError(f"{self.path}: replaced by another database while in use; restore the right one")

    def _check_writable(self) -> None:
        if self.fixed:
            raise UnavailableError(f"{self.path}: cannot be written: {self.fixed}; free space or make it writable, then try again")

    @contextmanager
    def _translated_errors(self) -> Iterator[None]:
        """Translate errors of SQLite into ours."""
        try:
            yield
        except sqlite3.OperationalError as exc:
            raise UnavailableError(f"{self.path}: {exc}; try again") from exc
        except sqlite3.DatabaseError as exc:
            raise ConfigError(f"{self.path}: not a Portway database: {exc}") from exc
        except OSError as exc:
            raise UnavailableError(f"{self.path}: cannot be read: {exc.strerror}") from exc


def _too_new(path: Path, schema: int) -> ConfigError:
    return ConfigError(f"{path}: created by a newer Portway (schema {schema}, this version supports {len(MIGRATIONS)}); update Portway")


def _id_of(db: sqlite3.Connection) -> str:
    if not _HAS_ID <= _schema(db) <= len(MIGRATIONS):
        return ""
    row = db.execute("SELECT id FROM database").fetchone()
    return str(row[0]) if row else ""


def _schema(db: sqlite3.Connection) -> int:
    version: int = db.execute("PRAGMA user_version").fetchone()[0]
    return version


def _migrate(db: sqlite3.Connection, path: Path) -> None:
    """Migrate the schema in one transaction; other processes wait for it."""
    if _schema(db) == len(MIGRATIONS):
        return  # without writing: others would see a change of the tokens
    db.execute("BEGIN IMMEDIATE")
    try:
        version = _schema(db)
        if version > len(MIGRATIONS):  # migrated by another process while this one waited
            raise _too_new(path, version)
        if not version and db.execute("SELECT name FROM sqlite_master LIMIT 1").fetchone():
            raise ConfigError(f"{path}: database of another program")
        for step in MIGRATIONS[version:]:
            for statement in step.split(";"):  # not executescript: it would commit the transaction
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
    """A policy as JSON; unset limits are omitted."""

    idle_timeout_s: float | None = None
    min_rate_bpm: int | None = None
    max_rate_bps: int | None = None
    bandwidth_bps: int | None = None
    max_lifetime_s: float | None = None
    max_total_payload: int | None = None


class _GrantsText(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """Grants as JSON in one column: they are always read as a whole.

    Unknown fields are rejected: an older Portway must not ignore a limit that a newer one wrote. Fields added later have a
    default that is omitted, so older versions can read grants that do not use them.
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
