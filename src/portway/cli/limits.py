"""The options that limit relays, the same for tunnels and for tokens."""

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
    """One limit as a person gives it."""

    field: str
    """Of `Policy`."""
    name: str
    """Of the option, with underscores."""
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
        """Where the value came from: the flag, or the variable."""
        context = click.get_current_context(silent=True)
        found = None if context is None else context.get_parameter_source(self.name)
        return self.variable if found is ParameterSource.ENVIRONMENT else self.flag


_LIMITS = (
    _Limit("idle_timeout_s", "idle_timeout", "TIME", parse_duration_s, "End a connection on which nothing goes either way for so long."),
    _Limit("min_rate_bpm", "min_rate", "SIZE", parse_size_bytes, "End one that carries fewer bytes a minute, both ways together."),
    _Limit(
        "max_rate_bps", "max_rate", "SIZE", parse_size_bytes, "Bytes (not bits) a second of one connection, each way: more has to wait."
    ),
    _Limit("bandwidth_bps", "bandwidth", "SIZE", parse_size_bytes, "Bytes a second of all connections together, each way, in equal parts."),
    _Limit("max_lifetime_s", "max_lifetime", "TIME", parse_duration_s, "End a connection after so long."),
    _Limit(
        "max_total_payload", "max_total_payload", "SIZE", parse_size_bytes, "End a connection that wants to carry more, both ways together."
    ),
)


def limits_options(*, environment: bool = False) -> Callable[[Command], Command]:
    """Add the options that limit relays; with `environment`, PORTWAY_… stands for each as well."""

    def add(command: Command) -> Command:
        for limit in reversed(_LIMITS):
            variable = limit.variable if environment else None
            option = click.option(limit.flag, limit.name, metavar=limit.metavar, envvar=variable, show_envvar=environment, help=limit.help)
            command = option(command)
        return command

    return add


def read_limits(options: Mapping[str, object]) -> Policy:
    """Return what the options of `limits_options` ask for.

    Raises:
        ConfigError: one line for each value that cannot be used; says the flag or the variable, and what was expected.
    """
    given: dict[str, Any] = {}
    faults = []
    for limit in _LIMITS:
        text = options.get(limit.name)
        if isinstance(text, str):
            try:
                value = limit.read(text)
                Policy(**{limit.field: value})  # type: ignore[arg-type]
            except ConfigError as exc:
                faults.append(f"{limit.source}: {str(exc).removeprefix(limit.field.removesuffix('_s') + ': ')}")
            else:
                given[limit.field] = value
    if faults:
        raise ConfigError("\n".join(faults))
    try:
        return Policy(**given).check()
    except ConfigError as exc:
        raise ConfigError(str(exc).replace("min_rate_bpm", "--min-rate", 1)) from exc


def describe_policy(policy: Policy) -> str:
    """Return a policy for people: "idle 10s, 1 MB/s each, …"; nothing where it limits nothing."""
    words = (
        (policy.idle_timeout_s, "idle for at most {}", format_duration),
        (policy.min_rate_bpm, "at least {} a minute", format_size),
        (policy.max_rate_bps, "{} a second each", format_size),
        (policy.bandwidth_bps, "{} a second together", format_size),
        (policy.max_lifetime_s, "at most {} long", format_duration),
        (policy.max_total_payload, "at most {} each", format_size),
    )
    return ", ".join(text.format(show(value)) for value, text, show in words if value is not None)
