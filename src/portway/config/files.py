"""Writes and reads files that hold secrets: for their owner alone, never half written, never through a link."""

import errno
import os
import stat
from pathlib import Path

from portway.config.paths import FILE_MODE, is_read_only, private_dir
from portway.errors import ConfigError

SECRET_BYTES_MAX = 64 * 1024
"""A join string has 200 bytes, a key with its certificate 2 kB; anything much larger is the wrong file."""

SECRET_MOUNTS = (Path("/run/secrets"),)
"""Where containers get secrets from outside, owned by root and readable by all: Docker mounts them so, and nobody inside can change it."""

_LINK = "is a link; secrets are kept in real files only"
_WRITABLE, _REACHABLE = 0o022, 0o077


class NotWrittenError(ConfigError):
    """A file cannot be written; some programs can do without."""


def write_secret(path: Path, data: bytes, *, replace: bool, own_folder: bool = True) -> bool:
    """Write `data` to `path` with mode 0600, all or nothing, and on the disk before this returns.

    With `replace` an old file gives way; without, it stays, and the answer is False: somebody else was first. A folder of
    our own is made where it is missing, and closed to others; any other one stays as it is.

    Raises:
        NotWrittenError: the folder or the file cannot be written.
    """
    try:
        if own_folder:
            private_dir(path.parent)
    except ConfigError as exc:
        raise NotWrittenError(str(exc)) from exc
    draft = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        draft.unlink(missing_ok=True)  # left by a killed process whose id came round again
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, FILE_MODE)
        try:
            with os.fdopen(handle, "wb") as file:
                os.fchmod(file.fileno(), FILE_MODE)
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            if replace:
                draft.replace(path)
                return True
            try:
                os.link(draft, path, follow_symlinks=False)
            except FileExistsError:
                return False
            return True
        finally:
            draft.unlink(missing_ok=True)
            _sync_dir(path.parent)
    except OSError as exc:
        raise NotWrittenError(f"{path}: cannot be written: {exc.strerror}") from exc


def read_secret(path: Path, *, follow: bool = False) -> bytes | None:
    """Return what is in `path`, or None when there is no such file.

    With `follow`, for a path that the user named just now, it may be a link or a pipe (`<(pass show portway)`). On a
    read-only file system, where nobody can plant one, it may be a link anyway: Kubernetes mounts secrets so.

    Raises:
        ConfigError: it is a link, belongs to another user, others may read or write it, or it cannot be read.
    """
    flags = 0 if follow else os.O_NONBLOCK | (0 if _is_fixed_link(path) else os.O_NOFOLLOW)
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | flags)
    except FileNotFoundError:
        return None
    except OSError as exc:
        raise ConfigError(f"{path}: {_LINK if path.is_symlink() and not follow else _why_unreadable(exc)}") from exc
    try:
        info = os.fstat(handle)
        if not (follow and stat.S_ISFIFO(info.st_mode)):
            _check_private(path, info)
        with open(handle, "rb", closefd=False) as file:
            data = file.read(SECRET_BYTES_MAX + 1)
    finally:
        os.close(handle)
    if len(data) > SECRET_BYTES_MAX:
        raise ConfigError(f"{path}: expected at most {SECRET_BYTES_MAX} bytes; this is some other file")
    return data


def is_private_file(path: Path) -> bool:
    """Return True when `path` is there and passes the checks of `read_secret`, False when it is not there.

    The file is not opened: closing a second descriptor would drop the locks that SQLite holds on a database.

    Raises:
        ConfigError: as `read_secret`.
    """
    try:
        info = path.lstat()
    except FileNotFoundError:
        return False
    except OSError as exc:
        raise ConfigError(f"{path}: {_why_unreadable(exc)}") from exc
    if stat.S_ISLNK(info.st_mode):
        if not _is_fixed_link(path):
            raise ConfigError(f"{path}: {_LINK}")
        try:
            info = path.stat()
        except FileNotFoundError:
            return False
    _check_private(path, info)
    return True


def _check_private(path: Path, info: os.stat_result) -> None:
    mine = os.geteuid()
    if not stat.S_ISREG(info.st_mode):
        raise ConfigError(f"{path}: expected a file, found something else there")
    if info.st_uid not in (mine, 0):
        raise ConfigError(f"{path}: belongs to user {info.st_uid}, not to you ({mine}); run this as that user (sudo -u '#{info.st_uid}' …)")
    if info.st_mode & _REACHABLE and (info.st_mode & _WRITABLE or not _is_fixed(path, info)):
        raise ConfigError(f"{path}: holds a secret, and others on this machine can reach it; run `chmod 600 {path}`")


def _why_unreadable(exc: OSError) -> str:
    hint = "; run this as the user that it belongs to" if exc.errno == errno.EACCES else ""
    return f"cannot be read: {exc.strerror}{hint}"


def _is_fixed(path: Path, info: os.stat_result) -> bool:
    """Return whether nobody who runs this can change a file's mode: then it is whoever mounted it that decides who reads it."""
    real = path.resolve()
    if is_read_only(real):
        return True
    return info.st_uid != os.geteuid() and any(mount in real.parents for mount in SECRET_MOUNTS)


def _is_fixed_link(path: Path) -> bool:
    """Return whether `path` is a link that only root, or nobody any more, can have made."""
    try:
        info = path.lstat()
    except OSError:
        return False
    return stat.S_ISLNK(info.st_mode) and info.st_uid in (os.geteuid(), 0) and is_read_only(path.parent)


def _sync_dir(path: Path) -> None:
    """Make a new name in a folder survive a power cut."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
