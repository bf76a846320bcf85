"""Finds the join string that an agent uses, and keeps the one that the user gave last."""

import sys
from collections.abc import Mapping
from pathlib import Path

from portway.config.files import SECRET_BYTES_MAX, read_secret, write_secret
from portway.errors import ConfigError
from portway.protocol.join_string import JoinString, parse

KEPT_FILE = "agent-join"
"""The kept join string's name in the data directory."""

VARIABLE = "PORTWAY_JOIN"


def keep_join(data_dir: Path, join: JoinString) -> Path:
    """Keep a join string for later commands, for its owner alone, and return where.

    Raises:
        ConfigError: the file cannot be written.
    """
    path = data_dir / KEPT_FILE
    write_secret(path, f"{join}\n".encode(), replace=True)
    return path


def find_join(join_file: Path | None, environ: Mapping[str, str], data_dir: Path) -> JoinString:
    """Return the join string of `join_file` (`-`: stdin), else of PORTWAY_JOIN, else the kept one.

    Raises:
        ConfigError: there is none, or it cannot be read; the message never holds it.
    """
    given = given_join(join_file, environ)
    if given is not None:
        return given
    path = data_dir / KEPT_FILE
    data = read_secret(path)
    if data is None:
        raise ConfigError(
            f"no join string yet: run `portway join` and paste the one that `portway token create` printed, or set {VARIABLE}"
        )
    return _parse(data, str(path))


def given_join(join_file: Path | None, environ: Mapping[str, str]) -> JoinString | None:
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


def _parse(data: bytes, where: str) -> JoinString:
    try:
        return parse(data.decode("ascii"))
    except UnicodeDecodeError as exc:
        raise ConfigError(f"{where}: this is no join string; they have no characters beyond ASCII") from exc
    except ConfigError as exc:
        raise ConfigError(f"{where}: {exc}") from exc
