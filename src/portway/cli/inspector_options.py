"""Options of the inspector, and its settings from them."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypedDict, TypeVar

import click

from portway.agent.settings import TunnelRequest
from portway.config.values import ListenAddress
from portway.errors import ConfigError
from portway.inspector.settings import BODY_BYTES_MAX, CAPTURE_BYTES_MAX, DEFAULT_ADDRESS, InspectorSettings
from portway.protocol.units import format_size, parse_size_bytes

Command = TypeVar("Command", bound=Callable[..., Any])

OFF = "off"


class InspectorOptions(TypedDict):
    """Values of `inspector_options`."""

    inspect: str | None
    no_inspect: bool
    inspect_open: bool
    capture_max: str | None
    capture_bodies: str | None
    redact: tuple[str, ...]
    no_redact: bool


def inspector_options(command: Command) -> Command:
    """Add the options of the inspector."""
    options = (
        click.option(
            "--inspect",
            metavar="ADDRESS",
            envvar="PORTWAY_INSPECT",
            show_envvar=True,
            help="Capture requests, and serve them at ADDRESS or the next free port.  [default: 127.0.0.1:4040 for http on a terminal, else off]",
        ),
        click.option("--no-inspect", is_flag=True, envvar="PORTWAY_NO_INSPECT", show_envvar=True, help="Capture nothing."),
        click.option(
            "--inspect-open",
            is_flag=True,
            envvar="PORTWAY_INSPECT_OPEN",
            show_envvar=True,
            help="Let every user of this machine read and replay captured requests, without the key.",
        ),
        click.option(
            "--capture-max",
            metavar="SIZE",
            envvar="PORTWAY_CAPTURE_MAX",
            show_envvar=True,
            help=f"Remove the oldest captured requests beyond SIZE on disk.  [default: {_text(CAPTURE_BYTES_MAX)}]",
        ),
        click.option(
            "--capture-bodies",
            metavar="SIZE",
            envvar="PORTWAY_CAPTURE_BODIES",
            show_envvar=True,
            help=f"Capture at most SIZE of each body.  [default: {_text(BODY_BYTES_MAX)}]",
        ),
        click.option(
            "--redact",
            metavar="NAME",
            multiple=True,
            envvar="PORTWAY_REDACT",
            show_envvar=True,
            help="Remove the values of header fields, parameters and keys called NAME, too; * stands for any characters. Repeatable.",
        ),
        click.option(
            "--no-redact",
            is_flag=True,
            envvar="PORTWAY_NO_REDACT",
            show_envvar=True,
            help="Store secrets in captured requests as well: passwords, tokens, cookies.",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


def read_inspector(
    options: InspectorOptions, tunnels: Iterable[TunnelRequest], folder: Path | None, *, on_terminal: bool
) -> InspectorSettings | None:
    """Return the settings of the inspector, None without one; `folder` is the agent's data directory.

    Raises:
        ConfigError: an option is invalid; begins with its flag.
    """
    from portway.config.paths import runtime_dir
    from portway.inspector.redaction import Redaction

    given = options["inspect"]
    if options["no_inspect"] and given not in (None, OFF):
        raise ConfigError("--no-inspect: cannot be combined with --inspect")
    settings = InspectorSettings(
        listen=DEFAULT_ADDRESS if given is None or given == OFF else _address(given),
        is_open=options["inspect_open"],
        capture_bytes_max=_size("--capture-max", options["capture_max"], CAPTURE_BYTES_MAX),
        body_bytes_max=_size("--capture-bodies", options["capture_bodies"], BODY_BYTES_MAX),
        redact=options["redact"],
        redacts=not options["no_redact"],
        data_dir=folder,
    )
    try:
        Redaction(settings.redact)
    except ConfigError as exc:
        raise ConfigError(f"--redact: {exc}") from exc
    if options["no_inspect"] or given == OFF:
        return None
    if given is None and not (on_terminal and any(tunnel.kind == "http" and tunnel.inspect for tunnel in tunnels)):
        return None
    try:
        keys: Path | None = runtime_dir()
    except ConfigError:
        keys = None  # commands cannot find the inspector then, but its page works
    return replace(settings, runtime_dir=keys)


def _address(text: str) -> ListenAddress:
    try:
        return ListenAddress.parse(f"127.0.0.1:{text}" if text.isdigit() else text)
    except ConfigError as exc:
        raise ConfigError(f"--inspect: {exc}, or off") from exc


def _size(flag: str, text: str | None, default: int) -> int:
    if text is None:
        return default
    try:
        return parse_size_bytes(text)
    except ConfigError as exc:
        raise ConfigError(f"{flag}: {exc}") from exc


def _text(size: int) -> str:
    return format_size(size).replace(" ", "")
