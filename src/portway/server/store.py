"""Keeps what must survive a restart, in SQLite: the tokens, without their secrets."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import NamedTuple, Self

import msgspec

from portway.config.files import is_private_file, write_secret
from portway.config.values import PortRange
from portway.engine.policy import UNLIMITED, Policy
from portway.errors import ConfigError, UnavailableError
from portway.protocol.scram import ScramVerifier
from portway.server.access.tokens import Grants, TokenRecord

FILE = "server.db"
"""The database's name in the data directory."""

BUSY_S_MAX = 2.0
"""How long one statement waits for another process's write; ours take a millisecond."""

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
)
"""Step N brings `user_version` from N to N + 1. Steps are added, never changed."""


class Store:
    """The tokens of one data directory, shared with other processes (`portway token` while the server runs).

    Every method is synchronous, and takes microseconds or, when the database is locked or the disk is slow, seconds: never
    call one on a loop that serves (see `token_reader`). One thread at a time may use an instance.
    """

    def __init__(self, path: Path) -> None:
        """Open the database at `path`; make it (mode 0600) and bring it up to date where needed.

        Raises:
            ConfigError: the file is somebody else's, readable by others, no database, or of a newer Portway.
        """
        self.path = path
        if not is_private_file(path):
            write_secret(path, b"", replace=False)  # SQLite gives its -wal and -shm files the mode of this one
        with self._told():
            self._db = sqlite3.connect(path, timeout=BUSY_S_MAX, isolation_level=None, check_same_thread=False)
            try:
                self._db.execute("PRAGMA journal_mode = WAL")
                self._db.execute("PRAGMA synchronous = FULL")  # a printed join string must outlive a power cut
                self._migrate()
            except BaseException:
                self._db.close()
                raise

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
            self._db.execute("UPDATE tokens SET revoked_at = ? WHERE id = ? AND revoked_at IS NULL", (now, token.id))
        return replace(token, revoked_at=now)

    def version(self) -> tuple[int, ...]:
        """Return what is another value after each write of another process or connection; costs a few microseconds.

        What this instance itself writes does not count.
        """
        with self._told():
            return (self._data_version(),)

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

    def _schema(self) -> int:
        version: int = self._db.execute("PRAGMA user_version").fetchone()[0]
        return version

    def _migrate(self) -> None:
        """Bring the schema up to date, in one transaction that another process waits for."""
        if self._schema() == len(MIGRATIONS):
            return  # without writing: others would take it for a change of the tokens
        self._db.execute("BEGIN IMMEDIATE")
        try:
            version = self._schema()
            if version > len(MIGRATIONS):
                raise ConfigError(
                    f"{self.path}: was made by a newer Portway (schema {version}, this one knows {len(MIGRATIONS)}); update it"
                )
            for step in MIGRATIONS[version:]:
                for statement in step.split(";"):  # not executescript: it would commit what stands before
                    self._db.execute(statement)
            self._db.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
            self._db.execute("COMMIT")
        except BaseException:
            self._db.execute("ROLLBACK")
            raise

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Translate what SQLite raises."""
        try:
            yield
        except sqlite3.OperationalError as exc:
            raise UnavailableError(f"{self.path}: {exc}; try again") from exc
        except sqlite3.DatabaseError as exc:
            raise ConfigError(f"{self.path}: is no database of Portway: {exc}") from exc


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
    limits = None if grants.policy.limits_nothing else _LimitsText(**asdict(grants.policy))
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
