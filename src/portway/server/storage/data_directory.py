"""A server's data directory: locks it, opens its files, and checks that they belong together.

server.db              tokens (`token_store`)
server-identity.pem    key and certificate (`identity`), unless those of a CA are used
server-state.json      ids of the database and the identity that belong to this directory
server.json            endpoint that agents dial (`identity.record_advertised`)
"""

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, NamedTuple

import msgspec

from portway.config.files import is_private_file, read_secret, write_secret
from portway.config.paths import private_dir
from portway.errors import ConfigError
from portway.server import identity as identities
from portway.server.identity import Identity, identity_of
from portway.server.settings import ServerSettings
from portway.server.storage.token_store import FILE, Store
from portway.telemetry.logs import get_log

STATE_FILE = "server-state.json"
"""Written once both exist; without it, a database that was emptied would look like a new one."""

log = get_log(__name__)


class DirectoryState(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Ids of the database and the identity that belong to a data directory."""

    database: str
    """The database's id."""
    identity: str = ""
    """The pin of the server's own certificate, in hexadecimal; empty if it has none."""


Purpose = Literal["read", "write", "serve", "init"]
"""What a store is opened for: `read` changes nothing, not even an older schema; `write` creates nothing; `serve` creates it in a
directory that no server has used; `init` creates it also where it was lost."""


class OpenedState(NamedTuple):
    """The persistent state of a server, opened."""

    store: Store
    identity: Identity


@contextmanager
def locked(data: Path) -> Iterator[None]:
    """Lock a data directory against other servers within the block; create it if it is missing.

    Uses `flock` on the directory: it writes nothing, so it works on read-only disks, and the kernel releases it however the process
    ends. Commands that create or revoke tokens do not lock it, nor do a server's workers.

    Raises:
        ConfigError: another server has locked it, or it cannot be used.
    """
    handle = os.open(private_dir(data), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            if exc.errno in (errno.EWOULDBLOCK, errno.EACCES):
                raise ConfigError(
                    f"data: another server uses {data}; stop it, or start this one with another directory (--data DIR)"
                ) from exc
            log.warning(
                "data directory not locked; do not start a second server on it", data=data, reason=exc.strerror
            )  # some network file systems
        yield
    finally:
        os.close(handle)


def open_state(settings: ServerSettings, *, init: bool = False) -> OpenedState:
    """Open the state of a server; create it in a directory that no server has used.

    With `init`, also create what was lost. Failures to save the directory's state, because the disk is full or read-only, are only logged.

    Raises:
        ConfigError: a file is lost, damaged, or of another server; with the next step.
        UnavailableError: the database is locked.
    """
    data, saved = settings.data, _read_state(settings.data)
    if settings.agents_certificate is None and saved is not None:
        _check_identity(data, saved, init=init)
    store = open_store(data, "init" if init else "serve")
    try:
        store.check_whole()
        identity = identity_of(settings)
        pin = identity.pin.hex() if identity.pin is not None else saved.identity if saved is not None else ""
        _save_state(data, saved, DirectoryState(store.database_id, pin))
    except BaseException:
        store.close()
        raise
    if store.fixed:
        log.warning("database read-only: tokens cannot be created or revoked", database=store.path, reason=store.fixed)
    return OpenedState(store, identity)


def open_store(data: Path, purpose: Purpose) -> Store:
    """Open the token database of a data directory.

    Raises:
        ConfigError: it is missing, or belongs to another server; with the next step.
        UnavailableError: the database is locked.
    """
    saved, path = _read_state(data), data / FILE
    is_new = saved is None and not is_private_file(data / identities.FILE)
    may_create = purpose == "init" or (purpose == "serve" and is_new)

    def approve(database_id: str, *, empty: bool) -> None:
        if empty and not may_create:
            raise _lost_error(path, "empty, although a server has used this directory")
        if saved is not None and database_id != saved.database and (database_id or purpose != "init"):
            what = "not the database of this directory" if database_id else "older than the database of this directory"
            raise ConfigError(f"{path}: {what}; restore the right one from a backup. To use this one, remove {data / STATE_FILE}")

    if not is_private_file(path) and not may_create:
        raise _no_server_error(data) if is_new else _lost_error(path, "missing, although a server has used this directory")
    return Store(path, make=purpose != "read", approve=approve)


def _no_server_error(data: Path) -> ConfigError:
    """Return the error of a command on a directory that no server has used."""
    return ConfigError(
        f"data: no server has used {data} yet. If the server runs as another user, run this command as that user (sudo -u USER portway …). "
        "If it uses another directory, give the same --data DIR (or PORTWAY_DATA, --config FILE). To create a token before the server's "
        "first start, add --init to `portway token create`"
    )


def _lost_error(path: Path, what: str) -> ConfigError:
    return ConfigError(
        f"{path}: {what}. Restore it from a backup; or, to start over without it, run `portway token create NAME --init` with this data directory"
    )


def _check_identity(data: Path, saved: DirectoryState, *, init: bool) -> None:
    """Check that the server's own certificate is the one whose pin agents have."""
    path = data / identities.FILE
    if not saved.identity or init:
        return
    if not is_private_file(path):
        raise _lost_error(path, "missing, and without it agents reject this server")
    if identities.certificate_pin(path).hex() != saved.identity:
        raise ConfigError(
            f"{path}: not the identity of this directory, and agents would reject this server; restore the right one from a backup. "
            f"To use this one, remove {data / STATE_FILE}"
        )


def _read_state(data: Path) -> DirectoryState | None:
    path = data / STATE_FILE
    content = read_secret(path)
    if content is None:
        return None
    try:
        return msgspec.json.decode(content, type=DirectoryState)
    except msgspec.DecodeError as exc:
        raise ConfigError(f"{path}: damaged ({exc}); remove it if server.db and {identities.FILE} beside it are the right ones") from exc


def _save_state(data: Path, saved: DirectoryState | None, found: DirectoryState) -> None:
    """Save the directory's state if it has changed."""
    if found == saved:
        return
    try:
        write_secret(data / STATE_FILE, msgspec.json.encode(found), replace=True)
    except ConfigError as exc:
        log.warning("directory state not saved", reason=exc)
