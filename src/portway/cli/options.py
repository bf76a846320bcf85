"""Options that commands share, and those that follow from a settings dataclass."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from portway.config.fields import Setting, settings_of

Command = TypeVar("Command", bound=Callable[..., Any])

LOG_LEVELS = ("debug", "info", "warning", "error")


def settings_options(settings_class: type[Any], *keys: str) -> Callable[[Command], Command]:
    """Add one option for each setting of `settings_class` (or for `keys` alone); None means that the flag was not given.

    The environment is not click's to read here: `load_settings` does, so that a complaint can name it.
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
    """Add `--config`, the TOML file that a server's settings may come from."""
    return click.option(
        "--config",
        metavar="FILE",
        type=click.Path(path_type=Path),
        envvar="PORTWAY_CONFIG",
        show_envvar=True,
        help="A portway.toml; its keys are the flags' names, in the table [server].",
    )(command)


def output_options(command: Command) -> Command:
    """Add `--json` and `--log-level`, for commands that run until they are stopped."""
    level = click.option(
        "--log-level",
        type=click.Choice(LOG_LEVELS),
        default="warning",
        show_default=True,
        envvar="PORTWAY_LOG_LEVEL",
        show_envvar=True,
        help="What goes to stderr beside the console.",
    )
    return json_option("One event a line on stdout, as JSON; logs on stderr too.")(level(command))


def json_option(help: str) -> Callable[[Command], Command]:
    """Add `--json`."""
    return click.option("--json", "as_json", is_flag=True, help=help)


def agent_options(command: Command) -> Command:
    """Add what every command that joins a server takes."""
    options = (
        click.option(
            "--join-file",
            metavar="FILE",
            type=click.Path(path_type=Path, allow_dash=True),
            envvar="PORTWAY_JOIN_FILE",
            show_envvar=True,
            help="A file with the join string, - for stdin. Else PORTWAY_JOIN, else what `portway join` kept.",
        ),
        server_option,
        agent_data_option,
    )
    for option in reversed(options):
        command = option(command)
    return command


def server_option(command: Command) -> Command:
    """Add `--server`, the user's own name for one of several servers."""
    return click.option(
        "--server",
        metavar="NAME",
        default="",
        envvar="PORTWAY_SERVER",
        show_envvar=True,
        help="Which of several servers: the name under which `portway join --server NAME` kept its join string.",
    )(command)


def agent_data_option(command: Command) -> Command:
    """Add `--data`, the agent's directory."""
    return click.option(
        "--data",
        metavar="DIR",
        type=click.Path(path_type=Path),
        envvar="PORTWAY_DATA",
        show_envvar=True,
        help="Where the join string and this agent's identity are kept.",
    )(command)
