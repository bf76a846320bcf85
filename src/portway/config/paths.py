"""Directories of Portway: persistent data, and runtime sockets."""

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
    """Return the platform's data directory for Portway, without creating it.

    Raises:
        ConfigError: the user has no home directory, as in many containers.
    """
    xdg = environ.get("XDG_DATA_HOME", "")
    if xdg.startswith("/"):  # the XDG specification says to ignore a relative one
        return Path(xdg, "portway")
    try:
        home = Path(environ.get("HOME") or Path.home())
    except (RuntimeError, KeyError) as exc:  # no entry in /etc/passwd
        raise ConfigError(f"data: user {os.getuid()} has no home directory; give a directory with --data or PORTWAY_DATA") from exc
    if sys.platform == "darwin":
        return home / "Library" / "Application Support" / "portway"
    return home / ".local" / "share" / "portway"


def config_file(environ: Mapping[str, str] = os.environ) -> Path:
    """Return the user's configuration file, which may not exist: `~/.config/portway/portway.toml`.

    Raises:
        ConfigError: the user has no home directory.
    """
    xdg = environ.get("XDG_CONFIG_HOME", "")
    if xdg.startswith("/"):
        return Path(xdg, "portway", "portway.toml")
    try:
        home = Path(environ.get("HOME") or Path.home())
    except (RuntimeError, KeyError) as exc:
        raise ConfigError(f"config: user {os.getuid()} has no home directory; give a file with --config or PORTWAY_CONFIG") from exc
    return home / ".config" / "portway" / "portway.toml"


def is_read_only(path: Path) -> bool:
    """Return whether `path` exists on a read-only file system, where not even root can change it."""
    try:
        return bool(os.statvfs(path).f_flag & os.ST_RDONLY)
    except OSError:
        return False


def runtime_dir(environ: Mapping[str, str] = os.environ, uid: int | None = None, shared: Path = Path("/tmp"), *, make: bool = True) -> Path:  # noqa: S108 - checked below
    """Return this user's directory for sockets, created with mode 0700; without `make` it may be missing.

    `$XDG_RUNTIME_DIR/portway`, or `portway-UID` under `shared` if that variable is not set.

    Raises:
        ConfigError: the directory belongs to another user, is a link, or cannot be created.
    """
    xdg = environ.get("XDG_RUNTIME_DIR", "")
    mine = os.getuid() if uid is None else uid
    path = Path(xdg, "portway") if xdg.startswith("/") else shared / f"portway-{mine}"
    return private_dir(path, mine) if make or os.path.lexists(path) else path


def private_dir(path: Path, uid: int | None = None) -> Path:
    """Create the directory `path` with mode 0700 if it is missing, check that it is private to this user, and return it.

    An own directory that is accessible to others is made private. Parents are created with the user's umask. On a
    read-only file system it may be accessible to others or belong to root.

    Raises:
        ConfigError: `path` is a link, not a directory, belongs to another user, or cannot be created.
    """
    mine = os.getuid() if uid is None else uid
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            path.mkdir(mode=DIR_MODE)
        except FileExistsError:
            pass
        info = path.lstat()
        if not stat.S_ISDIR(info.st_mode):  # `lstat`: a link to a directory does not count
            raise ConfigError(f"{path}: not a directory of your own; remove it or choose another")
        fixed = is_read_only(path)
        if info.st_uid != mine and not (fixed and info.st_uid == 0):
            raise ConfigError(f"{path}: belongs to user {info.st_uid}, not to you ({mine}); choose another directory")
        if info.st_mode & _OTHERS and not fixed:
            path.chmod(DIR_MODE)
    except OSError as exc:
        raise ConfigError(f"{path}: cannot be used as a directory: {exc.strerror}") from exc
    return path
