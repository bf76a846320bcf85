"""The options that say how long a command waits for something."""

from typing import Any

import click
from click.core import ParameterSource

from portway.errors import ConfigError
from portway.protocol.units import parse_duration_s

DRAIN_S_MAX = 3600.0
"""An hour: whoever needs more than that starts the next agent before this one has stopped."""


class Duration(click.ParamType[float]):
    """A time like 10s or 1m30s, in seconds, up to a longest one. Errors name the flag or the variable that it came from."""

    name = "time"

    def __init__(self, longest_s: float) -> None:
        """Take 0 to `longest_s` seconds."""
        self._longest_s = longest_s

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
        return seconds


def _source(param: click.Parameter | None, ctx: click.Context | None) -> str:
    """Return where a value came from, as its user knows it."""
    if param is None:
        return "time"
    from_environment = ctx is not None and ctx.get_parameter_source(param.name or "") is ParameterSource.ENVIRONMENT
    return str(param.envvar) if from_environment else param.opts[0]


drain_option = click.option(
    "--drain",
    metavar="TIME",
    type=Duration(DRAIN_S_MAX),
    default="10s",
    show_default=True,
    envvar="PORTWAY_DRAIN",
    show_envvar=True,
    help="When stopped, wait at most TIME for running requests and connections to finish. A second Ctrl-C ends them at once.",
)
