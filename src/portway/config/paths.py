"""Finds the folders where Portway keeps things: data that survives, sockets that need not."""

import os
import stat
import sys
from collections.abc import Mapping
from pathlib import Path

from portway.errors import ConfigError

DIR_MODE = 0o700
FILE_MODE = 0o600
_OTHERS = 0o077


def data_dir(environ: Mapping[str, str] = os.environ) -> Path:
    """Return the platform's folder for a program's data; nothing is made.

    Raises:
        ConfigError: the user has no home, as in many containers.
    """
    xdg = environ.get("XDG_DATA_HOME", "")
    if xdg.startswith("/"):  # the XDG specification says to ignore a relative one
        return Path(xdg, "portway")
    try:
        home = Path(environ.get("HOME") or Path.home())
    except (RuntimeError, KeyError) as exc:  # no entry in the password file
        raise ConfigError(f"data: user {os.getuid()} has no home directory; give a folder with --data or PORTWAY_DATA") from exc
    if sys.platform == "darwin":
        return home / "Library" / "Application Support" / "portway"
    return home / ".local" / "share" / "portway"


def is_read_only(path: Path) -> bool:
    """Return whether `path` is there and on a file system that is mounted read-only: not even root can change it."""
    try:
        return bool(os.statvfs(path).f_flag & os.ST_RDONLY)
    except OSError:
        return False


def runtime_dir(environ: Mapping[str, str] = os.environ, uid: int | None = None, shared: Path = Path("/tmp"), *, make: bool = True) -> Path:  # noqa: S108 - checked below
    """Return this user's folder for sockets, made with mode 0700 if it is not there; without `make` it may be missing.

    `$XDG_RUNTIME_DIR/portway`, or `portway-UID` below `shared` where no such variable is set.

    Raises:
        ConfigError: the folder belongs to somebody else, is a link, or cannot be made.
    """
    xdg = environ.get("XDG_RUNTIME_DIR", "")
    mine = os.getuid() if uid is None else uid
    path = Path(xdg, "portway") if xdg.startswith("/") else shared / f"portway-{mine}"
    return private_dir(path, mine) if make or os.path.lexists(path) else path


def private_dir(path: Path, uid: int | None = None) -> Path:
    """Make `path` with mode 0700 where it is missing, check that it is ours alone, and return it.

    A folder of ours that is open to others is closed. Parents are made as the user's umask wants them. On a read-only
    file system, where nobody can change anything, it may be open to others or root's.

    Raises:
        ConfigError: `path` is a link, no folder, somebody else's, or cannot be made.
    """
    mine = os.getuid() if uid is None else uid
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            path.mkdir(mode=DIR_MODE)
        except FileExistsError:
            pass
        info = path.lstat()
        if not stat.S_ISDIR(info.st_mode):  # `lstat`: a link to a folder is none
            raise ConfigError(f"{path}: expected a folder of your own, found something else there; remove it or choose another")
        fixed = is_read_only(path)
        if info.st_uid != mine and not (fixed and info.st_uid == 0):
            raise ConfigError(f"{path}: belongs to user {info.st_uid}, not to you ({mine}); choose another folder")
        if info.st_mode & _OTHERS and not fixed:
            path.chmod(DIR_MODE)
    except OSError as exc:
        raise ConfigError(f"{path}: cannot be used as a folder: {exc.strerror}") from exc
    return path
