"""Options that limit relays, shared by tunnels and tokens."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from portway.engine.policy import Policy
from portway.errors import ConfigError
from portway.protocol.units import format_duration, format_size, parse_duration_s, parse_size_bytes

Command = TypeVar("Command", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class _Limit:
    """One limit as an option."""

    field: str
    """Field of `Policy`."""
    name: str
    """Name of the option, with underscores."""
    metavar: str
    read: Callable[[str], float]
    help: str

    @property
    def flag(self) -> str:
        return "--" + self.name.replace("_", "-")

    @property
    def variable(self) -> str:
        return f"PORTWAY_{self.name.upper()}"

    @property
    def source(self) -> str:
        """The flag or variable that gave the value."""
        context = click.get_current_context(silent=True)
        found = None if context is None else context.get_parameter_source(self.name)
        return self.variable if found is ParameterSource.ENVIRONMENT else self.flag


_LIMITS = (
    _Limit("idle_timeout_s", "idle_timeout", "TIME", parse_duration_s, "Close connections that are idle for TIME."),
    _Limit(
        "min_rate_bpm",
        "min_rate",
        "SIZE",
        parse_size_bytes,
        "Close connections that transfer less than SIZE per minute, both directions combined.",
    ),
    _Limit("max_rate_bps", "max_rate", "SIZE", parse_size_bytes, "Limit each connection to SIZE bytes per second in each direction."),
    _Limit(
        "bandwidth_bps",
        "bandwidth",
        "SIZE",
        parse_size_bytes,
        "Limit all connections together to SIZE bytes per second in each direction, shared fairly.",
    ),
    _Limit("max_lifetime_s", "max_lifetime", "TIME", parse_duration_s, "Close connections that are open for TIME."),
    _Limit(
        "max_total_payload",
        "max_total_payload",
        "SIZE",
        parse_size_bytes,
        "Close connections that would transfer more than SIZE in total, both directions combined.",
    ),
)


def limits_options(*, environment: bool = False) -> Callable[[Command], Command]:
    """Add the options that limit relays; with `environment`, each also has a PORTWAY_ variable."""

    def add(command: Command) -> Command:
        for limit in reversed(_LIMITS):
            variable = limit.variable if environment else None
            option = click.option(limit.flag, limit.name, metavar=limit.metavar, envvar=variable, show_envvar=environment, help=limit.help)
            command = option(command)
        return command

    return add


def read_limits(options: Mapping[str, object]) -> Policy:
    """Return the policy that the options of `limits_options` define.

    Raises:
        ConfigError: one line per invalid value, with its flag or variable and what was expected.
    """
    given: dict[str, Any] = {}
    errors = []
    for limit in _LIMITS:
        text = options.get(limit.name)
        if isinstance(text, str):
            try:
                value = limit.read(text)
                Policy(**{limit.field: value})  # type: ignore[arg-type]
            except ConfigError as exc:
                errors.append(f"{limit.source}: {str(exc).removeprefix(limit.field.removesuffix('_s') + ': ')}")
            else:
                given[limit.field] = value
    if errors:
        raise ConfigError("\n".join(errors))
    try:
        return Policy(**given).check()
    except ConfigError as exc:
        raise ConfigError(str(exc).replace("min_rate_bpm", "--min-rate", 1)) from exc


def describe_policy(policy: Policy) -> str:
    """Return a policy as text: "idle at most 10s, …"; empty if nothing is limited."""
    limits = (
        (policy.idle_timeout_s, "idle at most {}", format_duration),
        (policy.min_rate_bpm, "at least {}/min", format_size),
        (policy.max_rate_bps, "at most {}/s per connection", format_size),
        (policy.bandwidth_bps, "at most {}/s together", format_size),
        (policy.max_lifetime_s, "open at most {}", format_duration),
        (policy.max_total_payload, "at most {} per connection", format_size),
    )
    return ", ".join(text.format(format_value(value)) for value, text, format_value in limits if value is not None)
