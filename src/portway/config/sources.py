"""Loads settings with precedence flag, environment, file, default, and reports all errors at once."""

import difflib
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from portway.config.fields import Setting, settings_of
from portway.config.values import parse_yes_or_no
from portway.errors import ConfigError

T = TypeVar("T")

FILE_BYTES_MAX = 1024 * 1024
"""Configuration files are written by hand; a larger file is the wrong one."""

TABLES = ("server", "proxy", "agent", "defaults", "tunnels")
"""Valid tables of a configuration file; one file may serve several programs."""


@dataclass(frozen=True, slots=True)
class RawValue:
    """One value of a source, and the name of that source for errors."""

    raw: object
    where: str
    """`--http`, `PORTWAY_HTTP` or `portway.toml: $.server.http`."""
    is_text: bool
    """True for environment and flags, where all values are text; a file has booleans."""


def load_settings(  # noqa: PLR0913 - one keyword per source, and what to do with them
    settings_class: type[T],
    table: str,
    *,
    flags: Mapping[str, object],
    environ: Mapping[str, str],
    file: Path | None,
    defaults: Callable[[Mapping[str, object]], Mapping[str, object]] = lambda _: {},
    tables: tuple[str, ...] = (),
) -> T:
    """Return the settings of `settings_class`, a frozen dataclass of `setting`s.

    `flags` maps keys to values of the command line (None: not given). `table` is the table of the file to read.
    `defaults` gets the given fields and returns defaults that replace those of the dataclass. `tables` are keys of the table that
    are not settings: the caller reads them.

    Raises:
        ConfigError: one line per invalid value, with its source and what was expected.
    """
    known = settings_of(settings_class)
    given = _from_file(file, table, known, tables) if file is not None else {}
    given |= {key: RawValue(environ[one.variable], one.variable, True) for key, one in known.items() if environ.get(one.variable)}
    given |= {
        key: RawValue(_joined(raw, known[key].separator), known[key].flag, True)
        for key, raw in flags.items()
        if raw is not None and raw != ()
    }
    return _build(settings_class, known, given, defaults)


def read_table(settings_class: type[T], file: Path, path: str, values: object) -> T:
    """Return the settings of a table within a file, which has no flags and no variables; `path` is its place, `$.proxy.user.ann`.

    Raises:
        ConfigError: one line per unknown key or invalid value.
    """
    known = settings_of(settings_class)
    if not isinstance(values, dict):
        raise ConfigError(f"{file}: {path}: expected a table, got {values!r}")
    refuse_unknown(file, path, values, tuple(known))
    given = {key: RawValue(raw, f"{file}: {path}.{key}", False) for key, raw in values.items()}
    return _build(settings_class, known, given, lambda _: {})


def _build(
    settings_class: type[T],
    known: Mapping[str, Setting],
    given: Mapping[str, RawValue],
    defaults: Callable[[Mapping[str, object]], Mapping[str, object]],
) -> T:
    """Parse the given values, and create the settings."""
    fields, errors = {}, []
    for key, value in given.items():
        try:
            fields[known[key].field] = _read(known[key], value)
        except ConfigError as exc:
            errors.append(f"{value.where}: {exc}")
    if errors:
        raise ConfigError("\n".join(errors))
    try:
        return settings_class(**{**defaults(fields), **fields})
    except ConfigError as exc:
        raise ConfigError(_with_sources(str(exc), given)) from exc


def read_toml(file: Path) -> dict[str, Any]:
    """Return the content of a TOML file.

    Raises:
        ConfigError: the file cannot be read or is invalid; names the line.
    """
    try:
        with file.open("rb") as opened:
            data = opened.read(FILE_BYTES_MAX + 1)
    except OSError as exc:
        raise ConfigError(f"{file}: cannot be read: {exc.strerror}") from exc
    if len(data) > FILE_BYTES_MAX:
        raise ConfigError(f"{file}: too large: expected at most {FILE_BYTES_MAX} bytes")
    try:
        return tomllib.loads(data.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise ConfigError(f"{file}: invalid TOML: {exc}") from exc


def _from_file(file: Path, table: str, known: Mapping[str, Setting], tables: tuple[str, ...]) -> dict[str, RawValue]:
    content = read_toml(file)
    refuse_unknown(file, "$", content, TABLES)
    values = content.get(table, {})
    if not isinstance(values, dict):
        raise ConfigError(f"{file}: $.{table}: expected a table, [{table}], got {values!r}")
    refuse_unknown(file, f"$.{table}", values, (*known, *tables))
    return {key: RawValue(raw, f"{file}: $.{table}.{key}", False) for key, raw in values.items() if key in known}


def refuse_unknown(file: Path, path: str, found: Mapping[str, object], known: Mapping[str, object] | tuple[str, ...]) -> None:
    """Check the keys of a table at `path`.

    Raises:
        ConfigError: one line per unknown key, with the most similar known one.
    """
    errors = []
    for key in found:
        if key not in known:
            close = difflib.get_close_matches(key.replace("-", "_"), list(known), n=1)
            hint = f"did you mean {close[0]}?" if close else f"expected one of {', '.join(known)}"
            errors.append(f"{file}: {path}.{key}: unknown setting; {hint}")
    if errors:
        raise ConfigError("\n".join(errors))


def _joined(raw: object, separator: str) -> object:
    """Return the values of a repeated flag as one text."""
    return separator.join(map(str, raw)) if isinstance(raw, tuple) else raw


def _read(one: Setting, value: RawValue) -> object:
    """Parse a value of a source."""
    if one.is_switch:
        if isinstance(value.raw, bool):
            return value.raw
        if value.is_text and isinstance(value.raw, str):
            return parse_yes_or_no(value.raw)
        raise ConfigError(f"expected true or false, got {value.raw!r}")
    if one.many and isinstance(value.raw, list) and value.raw and all(isinstance(item, str) for item in value.raw):
        return one.read(one.separator.join(value.raw))
    if not isinstance(value.raw, str):
        raise ConfigError(f"expected text in quotes, got {value.raw!r}")
    return one.read(value.raw)


def _with_sources(message: str, given: Mapping[str, RawValue]) -> str:
    """Return the error of a settings class, `key, key: text`, with each key replaced by the name in its source."""
    keys, colon, text = message.partition(": ")
    names = [given[key].where if key in given else key for key in keys.split(", ")]
    return ", ".join(names) + colon + text
