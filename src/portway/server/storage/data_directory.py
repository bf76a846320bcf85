"""A server's data directory: one server at a time, and files that belong together or an error that says what to do.

server.db              tokens (`store`)
server-identity.pem    key and certificate (`identity`), unless a CA's are used
server-state.json      which database and which identity belong here
server.json            what agents dial (`identity.record_advertised`)
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
"""Written once both are there; without it an emptied database would read as one that has no tokens yet."""

log = get_log(__name__)


class Belonging(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What belongs to a data directory."""

    database: str
    """The database's id."""
    identity: str = ""
    """The pin of the server's own certificate, in hexadecimal; empty where there is none."""


Purpose = Literal["read", "write", "serve", "init"]
"""What a store is opened for: `read` changes nothing, not even an older schema; `write` makes nothing; `serve` makes it in a
directory where no server ever ran; `init` makes it also where it was lost."""


class State(NamedTuple):
    """What a server has to remember, opened."""

    store: Store
    identity: Identity


@contextmanager
def locked(data: Path) -> Iterator[None]:
    """Keep other servers off a data directory within the block; made if it is missing. The kernel frees it however we end.

    `flock` on the folder itself: nothing is written, so that it works where nothing can be. Commands that make or revoke
    tokens do not take it, nor do a server's workers.

    Raises:
        ConfigError: another server has it, or it cannot be used.
    """
    handle = os.open(private_dir(data), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            if exc.errno in (errno.EWOULDBLOCK, errno.EACCES):
                raise ConfigError(
                    f"data: another server runs on {data}; stop that one, or give this one a directory of its own (--data DIR)"
                ) from exc
            log.warning("data directory not locked; start no second server on it", data=data, why=exc.strerror)  # some network file systems
        yield
    finally:
        os.close(handle)


def open_state(settings: ServerSettings, *, init: bool = False) -> State:
    """Open what a server needs, and make it in a directory where no server ever ran.

    With `init` what is lost is made anew, too: the operator said so. What cannot be written down, because the disk is full
    or read-only, is logged.

    Raises:
        ConfigError: something is lost, damaged, or of another server; says what to do.
        UnavailableError: the database is locked.
    """
    data, known = settings.data, _read(settings.data)
    if settings.agents_certificate is None and known is not None:
        _check_identity(data, known, init=init)
    store = open_store(data, "init" if init else "serve")
    try:
        store.check_whole()
        identity = identity_of(settings)
        pin = identity.pin.hex() if identity.pin is not None else known.identity if known is not None else ""
        _keep(data, known, Belonging(store.database_id, pin))
    except BaseException:
        store.close()
        raise
    if store.fixed:
        log.warning("tokens can be read, but not made or revoked", database=store.path, why=store.fixed)
    return State(store, identity)


def open_store(data: Path, purpose: Purpose) -> Store:
    """Open the tokens of a data directory.

    Raises:
        ConfigError: there are none, or they are of another server; says what to do.
        UnavailableError: the database is locked.
    """
    known, path = _read(data), data / FILE
    is_new = known is None and not is_private_file(data / identities.FILE)
    may_make = purpose == "init" or (purpose == "serve" and is_new)

    def approve(database_id: str, *, empty: bool) -> None:
        if empty and not may_make:
            raise _lost(path, "is empty, but a server ran here")
        if known is not None and database_id != known.database and (database_id or purpose != "init"):
            what = "is another database than the one that belongs here" if database_id else "is older than what belongs here"
            raise ConfigError(f"{path}: {what}; restore the right one from a backup. If this one is meant, remove {data / STATE_FILE}")

    if not is_private_file(path) and not may_make:
        raise _no_server(data) if is_new else _lost(path, "is missing, but a server ran here")
    return Store(path, make=purpose != "read", approve=approve)


def _no_server(data: Path) -> ConfigError:
    """Return what is wrong with a command for a server's data directory that is none."""
    return ConfigError(
        f"data: no server ran on {data} yet. Where does it run? As another user: run this as that one (sudo -u USER portway …). With another "
        "directory: give the same --data DIR (or PORTWAY_DATA, --config FILE). To make a token before its server's first start, add --init "
        "to `portway token create`"
    )


def _lost(path: Path, what: str) -> ConfigError:
    return ConfigError(
        f"{path}: {what}. Restore it from a backup; or, to begin anew without the old one, run `portway token create NAME --init` with this "
        "data directory"
    )


def _check_identity(data: Path, known: Belonging, *, init: bool) -> None:
    """Make sure that the server's own certificate is the one that agents were told of."""
    path = data / identities.FILE
    if not known.identity or init:
        return
    if not is_private_file(path):
        raise _lost(path, "is missing, and no agent would know this server again")
    if identities.certificate_pin(path).hex() != known.identity:
        raise ConfigError(
            f"{path}: is another identity than the one that belongs here, and no agent would know this server again; restore the right one "
            f"from a backup. If this one is meant, remove {data / STATE_FILE}"
        )


def _read(data: Path) -> Belonging | None:
    path = data / STATE_FILE
    content = read_secret(path)
    if content is None:
        return None
    try:
        return msgspec.json.decode(content, type=Belonging)
    except msgspec.DecodeError as exc:
        raise ConfigError(f"{path}: is damaged ({exc}); remove it if server.db and {identities.FILE} beside it are the right ones") from exc


def _keep(data: Path, known: Belonging | None, found: Belonging) -> None:
    """Write down what belongs together, if that is not written there already."""
    if found == known:
        return
    try:
        write_secret(data / STATE_FILE, msgspec.json.encode(found), replace=True)
    except ConfigError as exc:
        log.warning("not written down which database belongs to this server", why=exc)
