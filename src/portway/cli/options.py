"""Options shared by commands, and options derived from a settings dataclass."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from portway.config.fields import Setting, settings_of

Command = TypeVar("Command", bound=Callable[..., Any])

LOG_LEVELS = ("debug", "info", "warning", "error")


def settings_options(settings_class: type[Any], *keys: str) -> Callable[[Command], Command]:
    """Add one option for each setting of `settings_class`, or only for `keys`; None means that the flag was not given.

    Click does not read the environment here: `load_settings` does, so that errors can name the variable.
    """

    def add(command: Command) -> Command:
        known = settings_of(settings_class)
        for key in reversed(keys or tuple(known)):
            command = _option(known[key])(command)
        return command

    return add


def _option(one: Setting) -> Callable[[Command], Command]:
    notes = f"env var: {one.variable}" + (f"; default: {one.default}" if one.default else "")
    text = f"{one.help}  [{notes}]"
    if one.is_switch:
        return click.option(one.flag, one.key, is_flag=True, default=None, help=text)
    if one.many:
        return click.option(one.flag, one.key, metavar=one.metavar, multiple=True, help=text)
    return click.option(one.flag, one.key, metavar=one.metavar, default=None, help=text)


def config_option(command: Command) -> Command:
    """Add `--config`, the TOML file with server settings."""
    return click.option(
        "--config",
        metavar="FILE",
        type=click.Path(path_type=Path),
        envvar="PORTWAY_CONFIG",
        show_envvar=True,
        help="Read settings from the TOML file FILE: table [server], keys named like the flags, with underscores.",
    )(command)


def output_options(command: Command) -> Command:
    """Add `--json` and `--log-level`, for commands that run until stopped."""
    level = click.option(
        "--log-level",
        type=click.Choice(LOG_LEVELS),
        default="warning",
        show_default=True,
        envvar="PORTWAY_LOG_LEVEL",
        show_envvar=True,
        help="Minimum level of log messages on stderr.",
    )
    return json_option("Print events to stdout as JSON, one per line; logs on stderr are JSON, too.")(level(command))


def json_option(help: str) -> Callable[[Command], Command]:
    """Add `--json`."""
    return click.option("--json", "as_json", is_flag=True, help=help)


def agent_options(command: Command) -> Command:
    """Add the options of every command that connects to a server."""
    options = (
        click.option(
            "--join-file",
            metavar="FILE",
            type=click.Path(path_type=Path, allow_dash=True),
            envvar="PORTWAY_JOIN_FILE",
            show_envvar=True,
            help="File that contains the join string; - reads stdin.  [default: PORTWAY_JOIN, then the one saved by `portway join`]",
        ),
        server_option,
        agent_data_option,
    )
    for option in reversed(options):
        command = option(command)
    return command


def server_option(command: Command) -> Command:
    """Add `--server`, the user's name for one of several servers."""
    return click.option(
        "--server",
        metavar="NAME",
        default="",
        envvar="PORTWAY_SERVER",
        show_envvar=True,
        help="Use the join string that is saved as NAME; `portway join` saves it as NAME.",
    )(command)


def agent_data_option(command: Command) -> Command:
    """Add `--data`, the agent's data directory."""
    return click.option(
        "--data",
        metavar="DIR",
        type=click.Path(path_type=Path),
        envvar="PORTWAY_DATA",
        show_envvar=True,
        help="Store the join string and this agent's identity in DIR.",
    )(command)
