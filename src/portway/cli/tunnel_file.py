"""Reads the tunnels of an agent from a TOML file: the keys are those of the commands' options."""

import copy
import difflib
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, get_args

import click

from portway.agent.settings import TunnelKind, TunnelRequest
from portway.cli import expose
from portway.cli.tunnel_request import tunnel_request
from portway.config.expansion import expand
from portway.config.sources import TABLES, read_toml
from portway.config.toml_lines import line_of
from portway.errors import ConfigError

TUNNELS_MAX = 1_000
"""Tunnels in one file; a token may allow fewer."""

KINDS: tuple[TunnelKind, ...] = get_args(TunnelKind)
LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?", re.ASCII)
OWN_KEYS = ("kind", "groups", "inspect")
NOT_SHARED = frozenset({"kind", "groups", "target", "name", "host", "port"})
"""Keys that two tunnels cannot have in common."""

_FLAGS = re.compile(r"(?P<flags>--[a-z-]+(?:, --[a-z-]+)*): (?P<text>.*)", re.DOTALL)
_TARGET = re.compile(r"TARGET:? (?P<text>.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class TunnelFile:
    """A configuration file as an agent reads it."""

    path: Path
    session: dict[str, Any]
    """Values of table `[agent]`, by parameter of `session_options`."""
    tunnels: dict[str, TunnelRequest]
    """By label, in the order of the file."""
    groups: dict[str, list[str]] = field(default_factory=dict)
    """Labels by group."""

    def select(self, names: Iterable[str]) -> list[TunnelRequest]:
        """Return the tunnels with these labels or in these groups, in the order of the file; all of them without names.

        Raises:
            ConfigError: a name is neither a tunnel nor a group.
        """
        wanted: set[str] = set()
        for name in names:
            if name not in self.tunnels and name not in self.groups:
                close = difflib.get_close_matches(name, [*self.tunnels, *self.groups], n=1)
                hint = f"did you mean {close[0]}?" if close else f"it has {', '.join(self.tunnels) or 'none'}"
                raise ConfigError(f"{self.path}: no tunnel or group {name!r}; {hint}")
            wanted.update(self.groups.get(name, [name]))
        return [request for label, request in self.tunnels.items() if not names or label in wanted]


def load_tunnel_file(path: Path, environ: Mapping[str, str] = os.environ) -> TunnelFile:
    """Read the tunnels and the agent's options from a file.

    Raises:
        ConfigError: the file cannot be read or is invalid; one line per error, with file, line and key.
    """
    return _Reader(path, environ).read()


def session_values(path: Path, environ: Mapping[str, str] = os.environ) -> dict[str, Any]:
    """Return the values of table `[agent]` alone, by parameter of `session_options`.

    Raises:
        ConfigError: as for `load_tunnel_file`.
    """
    return _Reader(path, environ).session_values()


@cache
def session_parameters() -> dict[str, click.Parameter]:
    """Return the parameters that a session has once, by key in a file."""
    return _parameters(_session_command())


@cache
def _session_command() -> click.Command:
    command = click.command("agent", add_help_option=False)(expose.session_options(_nothing))
    return _without_environment(command, command.params)


@cache
def tunnel_command(kind: TunnelKind) -> click.Command:
    """Return the command of one kind without the parameters of the session, and without environment variables."""
    command: click.Command = getattr(expose, kind)
    shared = {parameter.name for parameter in session_parameters().values()}
    return _without_environment(command, [parameter for parameter in command.params if parameter.name not in shared])


def tunnel_keys(kind: TunnelKind) -> list[str]:
    """Return the keys of a tunnel of this kind."""
    return [*OWN_KEYS, *_parameters(tunnel_command(kind))]


def _without_environment(command: click.Command, parameters: Iterable[click.Parameter]) -> click.Command:
    """Return a command with copies of `parameters` that no environment variable sets: it would apply to all tunnels of a file."""
    copies = [copy.copy(parameter) for parameter in parameters]
    for parameter in copies:
        parameter.envvar = None
    return click.Command(command.name, params=copies, add_help_option=False)


def _nothing(**_options: object) -> None:
    """Carry options."""


def _parameters(command: click.Command) -> dict[str, click.Parameter]:
    return {(parameter.opts[0].removeprefix("--").replace("-", "_")): parameter for parameter in command.params if parameter.name != "help"}


class _Reader:
    """Reads one file, and collects its errors."""

    def __init__(self, path: Path, environ: Mapping[str, str]) -> None:
        self._path = path
        self._environ = environ
        self._content = read_toml(path)
        self._text = path.read_text("utf-8", "replace")
        self._errors: list[str] = []
        for table, values in self._content.items():
            if table not in TABLES:
                self._unknown((table,), TABLES)
            elif not isinstance(values, dict):
                self._error((table,), f"expected a table, [{table}], got {values!r}")
        self._check()

    def session_values(self) -> dict[str, Any]:
        known, arguments = session_parameters(), []
        values: dict[str, Any] = {}
        for key, raw in self._content.get("agent", {}).items():
            if key not in known:
                self._unknown(("agent", key), known)
                continue
            with self._errors_of(("agent", key)):
                value = self._value(raw, known[key])
                arguments += _arguments(known[key], value)
                values[known[key].name or key] = value
        self._check()
        self._parse_arguments(_session_command(), arguments, ("agent",))
        self._check()
        return values

    def read(self) -> TunnelFile:
        session = self.session_values()
        defaults = self._defaults()
        tunnels: dict[str, TunnelRequest] = {}
        groups: dict[str, list[str]] = {}
        tables = self._content.get("tunnels", {})
        if len(tables) > TUNNELS_MAX:
            self._error(("tunnels",), f"expected at most {TUNNELS_MAX} tunnels, got {len(tables)}")
            self._check()
        for label, table in tables.items():
            if not LABEL.fullmatch(label):
                self._error(("tunnels", label), "invalid name: expected up to 63 letters, digits, '-', '_' and '.'")
            elif not isinstance(table, dict):
                self._error(("tunnels", label), f"expected a table, [tunnels.{label}], got {table!r}")
            else:
                request = self._tunnel(label, table, defaults)
                if request is not None:
                    tunnels[label] = request
                for group in self._groups(label, table):
                    groups.setdefault(group, []).append(label)
        for group in groups.keys() & tables.keys():
            self._error(
                ("tunnels", groups[group][0], "groups"), f"{group!r} is also the name of a tunnel; choose another name for the group"
            )
        self._check()
        return TunnelFile(self._path, session, tunnels, groups)

    def _defaults(self) -> dict[str, Any]:
        known = {key for kind in KINDS for key in tunnel_keys(kind)} - NOT_SHARED
        defaults = self._content.get("defaults", {})
        for key in defaults:
            if key not in known:
                self._unknown(("defaults", key), sorted(known))
        return {key: raw for key, raw in defaults.items() if key in known}

    def _tunnel(self, label: str, table: Mapping[str, Any], defaults: Mapping[str, Any]) -> TunnelRequest | None:
        path = ("tunnels", label)
        kind: TunnelKind = table.get("kind", "http")
        if kind not in KINDS:
            self._error((*path, "kind"), f"expected one of {', '.join(KINDS)}, got {kind!r}")
            return None
        known = _parameters(tunnel_command(kind))
        before = len(self._errors)
        arguments: dict[str, list[str]] = {}
        for key, raw in {**{key: raw for key, raw in defaults.items() if key in known}, **table}.items():
            if key in OWN_KEYS:
                continue
            if key not in known:
                self._unknown((*path, key), tunnel_keys(kind), elsewhere=key in session_parameters())
                continue
            place = (*path, key) if key in table else ("defaults", key)
            with self._errors_of(place):
                arguments[key] = _arguments(known[key], self._value(raw, known[key]))
        inspect = table.get("inspect", defaults.get("inspect", True))
        if not isinstance(inspect, bool):
            self._error((*path, "inspect") if "inspect" in table else ("defaults", "inspect"), f"expected true or false, got {inspect!r}")
        if not {"target", "status"} & table.keys():
            self._error(path, 'target is missing: expected the local service, such as target = "3000"')
        if len(self._errors) > before:
            return None
        if kind != "tcp" and not {"name", "host"} & table.keys():
            arguments["name"] = [f"--name={label}"]
        return self._parse(kind, label, arguments, path, inspect=inspect)

    def _parse(
        self, kind: TunnelKind, label: str, arguments: Mapping[str, list[str]], path: tuple[str, ...], *, inspect: bool
    ) -> TunnelRequest | None:
        target = arguments.get("target", [])
        given = [argument for key, texts in arguments.items() if key != "target" for argument in texts]
        options = self._parse_arguments(tunnel_command(kind), [*given, "--", *target], path)
        if options is not None:
            try:
                return replace(tunnel_request(kind, options, label), inspect=inspect)
            except ConfigError as exc:
                for line in str(exc).splitlines():
                    self._error_of_option(path, line)
        return None

    def _parse_arguments(self, command: click.Command, arguments: list[str], path: tuple[str, ...]) -> dict[str, Any] | None:
        """Return the parameters of a command, or None after an error."""
        context = click.Context(command, info_name=command.name)
        try:
            command.parse_args(context, arguments)
        except click.UsageError as exc:
            parameter = getattr(exc, "param", None)
            key = next((key for key, one in _parameters(command).items() if one is parameter), "")
            self._error((*path, key) if key else path, exc.message)
        except ConfigError as exc:
            self._error_of_option(path, str(exc))
        else:
            return context.params
        return None

    def _error_of_option(self, path: tuple[str, ...], text: str) -> None:
        """Record an error that begins with flags, under the keys of the file."""
        found, target = _FLAGS.match(text), _TARGET.match(text)
        if found is not None:
            key = found["flags"].split(", ")[0].removeprefix("--").replace("-", "_")
            self._error((*path, key), found["text"])
        elif target is not None:
            self._error((*path, "target"), target["text"])
        else:
            self._error(path, text)

    def _groups(self, label: str, table: Mapping[str, Any]) -> list[str]:
        groups = table.get("groups", [])
        if not isinstance(groups, list) or not all(isinstance(group, str) and LABEL.fullmatch(group) for group in groups):
            self._error(("tunnels", label, "groups"), f'expected a list of names, such as ["web"], got {groups!r}')
            return []
        return groups

    def _value(self, raw: object, parameter: click.Parameter) -> Any:
        """Return a value of the file with its variables replaced; paths are relative to the file."""
        if isinstance(raw, list):
            return [self._value(item, parameter) for item in raw]
        if isinstance(raw, bool) or not isinstance(raw, str):
            return raw
        text = expand(raw, self._environ)
        is_folder = parameter.name == "target" and text.split("/")[0] in (".", "..")
        if is_folder or (isinstance(parameter.type, click.Path) and text != "-"):
            return str(self._path.parent / Path(text).expanduser())
        return text

    def _error(self, path: tuple[str, ...], text: str) -> None:
        line = line_of(self._text, path)
        self._errors.append(f"{self._path}:{line}: {'.'.join(path)}: {text}" if line else f"{self._path}: {'.'.join(path)}: {text}")

    def _unknown(self, path: tuple[str, ...], known: Iterable[str], *, elsewhere: bool = False) -> None:
        names = list(known)
        close = difflib.get_close_matches(path[-1].replace("-", "_"), names, n=1)
        hint = f"did you mean {close[0]}?" if close else f"expected one of {', '.join(names)}"
        self._error(path, "applies to all tunnels; move it to table [agent]" if elsewhere else f"unknown setting; {hint}")

    @contextmanager
    def _errors_of(self, path: tuple[str, ...]) -> Iterator[None]:
        """Record a ConfigError as an error of this key."""
        try:
            yield
        except ConfigError as exc:
            self._error(path, str(exc))

    def _check(self) -> None:
        if self._errors:
            raise ConfigError("\n".join(self._errors))


def _arguments(parameter: click.Parameter, value: object) -> list[str]:
    """Return the arguments of a command line for one value.

    Raises:
        ConfigError: the value has the wrong type.
    """
    flag = parameter.opts[0]
    if flag == "--inspect" and isinstance(value, bool):
        return ["--inspect=127.0.0.1:4040" if value else "--inspect=off"]
    is_switch = isinstance(parameter, click.Option) and parameter.is_flag
    if is_switch:
        if not isinstance(value, bool):
            raise ConfigError(f"expected true or false, got {value!r}")
        return [flag] if value else []
    return [f"{flag}={text}" if flag.startswith("--") else text for text in _texts(parameter, value)]


def _texts(parameter: click.Parameter, value: object) -> Iterator[str]:
    many = isinstance(parameter, click.Option) and parameter.multiple
    if isinstance(value, list) and many:
        for item in value:
            yield from _texts(parameter, item)
    elif isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool)):
        yield str(value)
    else:
        raise ConfigError(f"expected text in quotes{' or a list of texts' if many else ''}, got {value!r}")
