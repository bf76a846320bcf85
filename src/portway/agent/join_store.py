"""Finds the join string that an agent uses, and keeps those that the user gave, one for each server by name."""

import re
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from portway.config.files import SECRET_BYTES_MAX, read_secret, write_secret
from portway.config.paths import data_dir
from portway.errors import ConfigError
from portway.protocol.join_string import JoinString, parse

KEPT_FILE = "agent-join"
"""The kept join string's name in the data directory; that of a server with a name is `agent-join.NAME`."""

VARIABLE, FILE_VARIABLE, SERVER_VARIABLE = "PORTWAY_JOIN", "PORTWAY_JOIN_FILE", "PORTWAY_SERVER"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", re.ASCII)


def agent_folder(given: Path | None) -> Path | None:
    """Return the agent's data directory: what the user gave, else the platform's; None where there can be none.

    Nothing is made. A user without a home, or with one that he cannot enter, is usual in containers.
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
    """Return `name` when a server may be called so; raises ConfigError."""
    if not _NAME.fullmatch(name):
        raise ConfigError(f"--server: expected 1 to 63 letters, digits or . _ -, beginning with a letter or digit, got {name!r}")
    return name


def save_join_string(folder: Path, join: JoinString, server: str = "") -> Path:
    """Keep a join string for later commands, for its owner alone, and return where. `server` is the user's name for the server.

    Raises:
        ConfigError: the file cannot be written.
    """
    path = folder / _file_of(server)
    write_secret(path, f"{join}\n".encode(), replace=True)
    return path


def kept_join(folder: Path | None, server: str = "") -> JoinString | None:
    """Return the join string that is kept for a server, or None.

    Raises:
        ConfigError: it cannot be read; the message never holds it.
    """
    if folder is None:
        return None
    path = folder / _file_of(server)
    data = read_secret(path)
    return None if data is None else _parse(data, str(path))


def load_join_string(join_file: Path | None, environ: Mapping[str, str], folder: Path | None, server: str = "") -> JoinString:
    """Return the join string kept for `server`, if one is named; else that of `join_file` (`-`: stdin), of PORTWAY_JOIN, or the kept one.

    Raises:
        ConfigError: there is none, or it cannot be read; the message never holds it.
    """
    if server and join_file is not None:
        by_variable = (server == environ.get(SERVER_VARIABLE), str(join_file) == environ.get(FILE_VARIABLE))
        if by_variable not in ((True, False), (False, True)):
            raise ConfigError("--server, --join-file: give one of them, the name of a kept join string or a file with another one")
        server, join_file = ("", join_file) if by_variable[0] else (server, None)  # a flag beats the environment
    given = None if server else explicit_join_string(join_file, environ)
    if given is not None:
        return given
    kept = kept_join(folder, server)
    if kept is not None:
        return kept
    if folder is None:
        raise ConfigError(
            f"no join string: there is no data directory where one could be kept; set {VARIABLE}, or give --join-file or --data"
        )
    names = kept_servers(folder)
    if server:
        known = f"those that are kept have the names {', '.join(names)}" if names else "none has a name"
        raise ConfigError(f"--server: no join string is kept under the name {server}; {known}. `portway join --server {server}` keeps one")
    hint = f"; or give --server, one of {', '.join(names)}" if names else ""
    raise ConfigError(
        f"no join string yet: run `portway join` and paste the one that `portway token create` printed, or set {VARIABLE}{hint}"
    )


def kept_servers(folder: Path) -> list[str]:
    """Return the names of the servers for which a join string is kept under a name."""
    try:
        return sorted(path.name.removeprefix(f"{KEPT_FILE}.") for path in folder.glob(f"{KEPT_FILE}.*"))
    except OSError:
        return []


def explicit_join_string(join_file: Path | None, environ: Mapping[str, str]) -> JoinString | None:
    """Return the join string that this very command was given by file or environment, if it was.

    Raises:
        ConfigError: it cannot be read.
    """
    if join_file is not None and str(join_file) == "-":
        return _parse(sys.stdin.buffer.read(SECRET_BYTES_MAX), "standard input")
    if join_file is not None:
        data = read_secret(join_file, follow=True)
        if data is None:
            raise ConfigError(f"--join-file: {join_file} is not there")
        return _parse(data, f"--join-file {join_file}")
    return _parse(environ[VARIABLE].encode(), VARIABLE) if environ.get(VARIABLE) else None


def _file_of(server: str) -> str:
    return f"{KEPT_FILE}.{check_server_name(server)}" if server else KEPT_FILE


def _parse(data: bytes, where: str) -> JoinString:
    try:
        return parse(data.decode("ascii"))
    except UnicodeDecodeError as exc:
        raise ConfigError(f"{where}: invalid join string: it contains non-ASCII characters") from exc
    except ConfigError as exc:
        raise ConfigError(f"{where}: {exc}") from exc
