"""Loads the join string that an agent uses, and saves join strings, optionally under a name for each server."""

import re
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from portway.config.files import SECRET_BYTES_MAX, read_secret, write_secret
from portway.config.paths import data_dir
from portway.errors import ConfigError
from portway.protocol.join_string import JoinString, parse

SAVED_FILE = "agent-join"
"""File name of the saved join string in the data directory; for a named server it is `agent-join.NAME`."""

VARIABLE, FILE_VARIABLE, SERVER_VARIABLE = "PORTWAY_JOIN", "PORTWAY_JOIN_FILE", "PORTWAY_SERVER"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", re.ASCII)


def agent_folder(given: Path | None) -> Path | None:
    """Return the agent's data directory: `given`, otherwise the platform's; None if there can be none.

    Creates nothing. Users without an accessible home directory are common in containers.
    """
    if given is not None:
        return given
    try:
        folder = data_dir()
    except ConfigError:
        return None
    with suppress(FileNotFoundError):
        try:
            folder.lstat()
        except (PermissionError, NotADirectoryError):
            return None
    return folder


def check_server_name(name: str) -> str:
    """Return `name` if it is a valid name for a server; raises ConfigError."""
    if not _NAME.fullmatch(name):
        raise ConfigError(f"--server: invalid name {name!r}: expected 1 to 63 letters, digits or . _ -, beginning with a letter or digit")
    return name


def save_join_string(folder: Path, join: JoinString, server: str = "") -> Path:
    """Save a join string with mode 0600 for later commands, and return the path. `server` is the user's name for the server.

    Raises:
        ConfigError: the file cannot be written.
    """
    path = folder / _file_of(server)
    write_secret(path, f"{join}\n".encode(), replace=True)
    return path


def saved_join_string(folder: Path | None, server: str = "") -> JoinString | None:
    """Return the saved join string of a server, or None.

    Raises:
        ConfigError: it cannot be read; the message never contains it.
    """
    if folder is None:
        return None
    path = folder / _file_of(server)
    data = read_secret(path)
    return None if data is None else _parse(data, str(path))


def load_join_string(join_file: Path | None, environ: Mapping[str, str], folder: Path | None, server: str = "") -> JoinString:
    """Return the saved join string of `server` if one is named; otherwise that of `join_file` (`-`: stdin), PORTWAY_JOIN, or the saved one.

    Raises:
        ConfigError: there is none, or it cannot be read; the message never contains it.
    """
    if server and join_file is not None:
        by_variable = (server == environ.get(SERVER_VARIABLE), str(join_file) == environ.get(FILE_VARIABLE))
        if by_variable not in ((True, False), (False, True)):
            raise ConfigError("--server, --join-file: give one of them, the name of a saved join string or a file that contains one")
        server, join_file = ("", join_file) if by_variable[0] else (server, None)  # a flag beats the environment
    given = None if server else explicit_join_string(join_file, environ)
    if given is not None:
        return given
    saved = saved_join_string(folder, server)
    if saved is not None:
        return saved
    if folder is None:
        raise ConfigError(
            f"no join string: there is no data directory to read a saved one from; set {VARIABLE}, or give --join-file or --data"
        )
    names = saved_servers(folder)
    if server:
        known = f"saved names: {', '.join(names)}" if names else "no names are saved"
        raise ConfigError(f"--server: unknown name {server}: {known}; `portway join --server {server}` saves its join string")
    hint = f"; or give --server with one of {', '.join(names)}" if names else ""
    raise ConfigError(
        f"no join string yet: run `portway join` and paste the one that `portway token create` printed, or set {VARIABLE}{hint}"
    )


def saved_servers(folder: Path) -> list[str]:
    """Return the names under which join strings are saved."""
    try:
        return sorted(path.name.removeprefix(f"{SAVED_FILE}.") for path in folder.glob(f"{SAVED_FILE}.*"))
    except OSError:
        return []


def explicit_join_string(join_file: Path | None, environ: Mapping[str, str]) -> JoinString | None:
    """Return the join string from `join_file` or the environment; None if neither is set.

    Raises:
        ConfigError: it cannot be read.
    """
    if join_file is not None and str(join_file) == "-":
        return _parse(sys.stdin.buffer.read(SECRET_BYTES_MAX), "standard input")
    if join_file is not None:
        data = read_secret(join_file, follow=True)
        if data is None:
            raise ConfigError(f"--join-file: {join_file} does not exist")
        return _parse(data, f"--join-file {join_file}")
    return _parse(environ[VARIABLE].encode(), VARIABLE) if environ.get(VARIABLE) else None


def _file_of(server: str) -> str:
    return f"{SAVED_FILE}.{check_server_name(server)}" if server else SAVED_FILE


def _parse(data: bytes, where: str) -> JoinString:
    try:
        return parse(data.decode("ascii"))
    except UnicodeDecodeError as exc:
        raise ConfigError(f"{where}: invalid join string: expected ASCII characters only") from exc
    except ConfigError as exc:
        raise ConfigError(f"{where}: {exc}") from exc
