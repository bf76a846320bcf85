"""Writes and reads files with secrets: readable by the owner only, written atomically, never through symbolic links."""

import errno
import os
import stat
from pathlib import Path

from portway.config.paths import FILE_MODE, is_read_only, private_dir
from portway.errors import ConfigError

SECRET_BYTES_MAX = 64 * 1024
"""A join string has about 200 bytes, a key with its certificate 2 kB; a much larger file is the wrong one."""

SECRET_MOUNTS = (Path("/run/secrets"),)
"""Docker mounts a container's secrets here, owned by root and readable by all; processes in the container cannot change that."""

_LINK = "cannot be a symbolic link: expected a regular file for a secret"
_WRITABLE, _REACHABLE = 0o022, 0o077


class NotWrittenError(ConfigError):
    """A file cannot be written; some callers can continue without it."""


def write_secret(path: Path, data: bytes, *, replace: bool, own_folder: bool = True) -> bool:
    """Write `data` to `path` with mode 0600, atomically, and flush it to disk.

    With `replace` an existing file is replaced; without, it is left alone and the result is False. With `own_folder` the
    directory is created if missing and made private; otherwise it is left as it is.

    Raises:
        NotWrittenError: the directory or the file cannot be written.
    """
    try:
        if own_folder:
            private_dir(path.parent)
    except ConfigError as exc:
        raise NotWrittenError(str(exc)) from exc
    draft = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        draft.unlink(missing_ok=True)  # left by a killed process whose id was reused
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
    """Return the content of `path`, or None if it does not exist.

    With `follow`, for a path that the user just gave, it may be a symbolic link or a pipe (`<(pass show portway)`). On a
    read-only file system, where an attacker cannot create links, a link is always accepted: Kubernetes mounts secrets so.

    Raises:
        ConfigError: `path` is a link, belongs to another user, is accessible to others, or cannot be read.
    """
    flags = 0 if follow else os.O_NONBLOCK | (0 if _is_fixed_link(path) else os.O_NOFOLLOW)
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | flags)
    except FileNotFoundError:
        return None
    except OSError as exc:
        raise ConfigError(f"{path}: {_LINK if path.is_symlink() and not follow else _read_error(exc)}") from exc
    try:
        info = os.fstat(handle)
        if not (follow and stat.S_ISFIFO(info.st_mode)):
            _check_private(path, info)
        with open(handle, "rb", closefd=False) as file:
            data = file.read(SECRET_BYTES_MAX + 1)
    finally:
        os.close(handle)
    if len(data) > SECRET_BYTES_MAX:
        raise ConfigError(f"{path}: too large: expected at most {SECRET_BYTES_MAX} bytes for a secret")
    return data


def is_private_file(path: Path) -> bool:
    """Return True if `path` passes the checks of `read_secret`, False if it does not exist.

    The file is not opened: closing a second descriptor would drop the locks that SQLite holds on a database.

    Raises:
        ConfigError: as for `read_secret`.
    """
    try:
        info = path.lstat()
    except FileNotFoundError:
        return False
    except OSError as exc:
        raise ConfigError(f"{path}: {_read_error(exc)}") from exc
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
        raise ConfigError(f"{path}: not a regular file")
    if info.st_uid not in (mine, 0):
        raise ConfigError(f"{path}: belongs to user {info.st_uid}, not to you ({mine}); run this as that user (sudo -u '#{info.st_uid}' …)")
    if info.st_mode & _REACHABLE and (info.st_mode & _WRITABLE or not _is_fixed(path, info)):
        raise ConfigError(f"{path}: contains a secret but is accessible to other users; run `chmod 600 {path}`")


def _read_error(exc: OSError) -> str:
    hint = "; run this as its owner" if exc.errno == errno.EACCES else ""
    return f"cannot be read: {exc.strerror}{hint}"


def _is_fixed(path: Path, info: os.stat_result) -> bool:
    """Return whether this user cannot change the file's mode: its mount decides about access then."""
    real = path.resolve()
    if is_read_only(real):
        return True
    return info.st_uid != os.geteuid() and any(mount in real.parents for mount in SECRET_MOUNTS)


def _is_fixed_link(path: Path) -> bool:
    """Return whether `path` is a link that no other user can have created: its file system is read-only."""
    try:
        info = path.lstat()
    except OSError:
        return False
    return stat.S_ISLNK(info.st_mode) and info.st_uid in (os.geteuid(), 0) and is_read_only(path.parent)


def _sync_dir(path: Path) -> None:
    """Flush a directory to disk, so that new names in it survive a power failure."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
