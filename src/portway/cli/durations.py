"""Options with a duration: --connect-timeout and --drain."""

from typing import Any

import click
from click.core import ParameterSource

from portway.errors import ConfigError
from portway.protocol.units import parse_duration_s

DRAIN_S_MAX = 3600.0
"""One hour. Longer transfers need a second agent that starts before this one stops."""


class Duration(click.ParamType[float]):
    """A duration like 10s or 1m30s within bounds, converted to seconds. Errors name the flag or variable it came from."""

    name = "time"

    def __init__(self, longest_s: float, shortest_s: float = 0.0) -> None:
        """Accept `shortest_s` to `longest_s` seconds."""
        self._longest_s = longest_s
        self._shortest_s = shortest_s

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return seconds; raises ConfigError."""
        if not isinstance(value, str):
            return float(value)
        try:
            seconds = parse_duration_s(value)
        except ConfigError as exc:
            raise ConfigError(f"{_source(param, ctx)}: {exc}") from exc
        if seconds > self._longest_s:
            raise ConfigError(f"{_source(param, ctx)}: expected at most {self._longest_s:g} s, got {value}")
        if seconds < self._shortest_s:
            raise ConfigError(f"{_source(param, ctx)}: expected at least {self._shortest_s:g} s, got {value}")
        return seconds


def _source(param: click.Parameter | None, ctx: click.Context | None) -> str:
    """Return the flag or environment variable that gave a value."""
    if param is None:
        return "time"
    from_environment = ctx is not None and ctx.get_parameter_source(param.name or "") is ParameterSource.ENVIRONMENT
    return str(param.envvar) if from_environment else param.opts[0]


CONNECT_S_MAX = 86_400.0
"""One day; to wait longer, omit the option."""


connect_option = click.option(
    "--connect-timeout",
    metavar="TIME",
    type=Duration(CONNECT_S_MAX, shortest_s=0.1),
    default=None,
    envvar="PORTWAY_CONNECT_TIMEOUT",
    show_envvar=True,
    help="Exit with code 1 if the server cannot be reached within TIME.  [default: retry forever]",
)

drain_option = click.option(
    "--drain",
    metavar="TIME",
    type=Duration(DRAIN_S_MAX),
    default="10s",
    show_default=True,
    envvar="PORTWAY_DRAIN",
    show_envvar=True,
    help="On shutdown, wait at most TIME for open requests and connections to finish. A second Ctrl-C ends them immediately.",
)
