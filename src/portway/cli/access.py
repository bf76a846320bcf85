"""Options of `portway http` for access to the tunnel: plain HTTP, and Strict-Transport-Security."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click

from portway.errors import ConfigError
from portway.protocol.control.messages import HSTS_S_MAX, AccessRules
from portway.protocol.units import parse_duration_s

Command = TypeVar("Command", bound=Callable[..., Any])

_OPTIONS = (
    click.option(
        "--plain-http",
        type=click.Choice(["redirect", "serve", "refuse"]),
        default="redirect",
        show_default=True,
        envvar="PORTWAY_PLAIN_HTTP",
        show_envvar=True,
        help="Redirect, serve or refuse requests over plain HTTP; redirect applies once the name has a certificate.",
    ),
    click.option(
        "--hsts",
        metavar="TIME",
        envvar="PORTWAY_HSTS",
        show_envvar=True,
        help="Make browsers use only https for this host for TIME after each response.  [default: left to the service]",
    ),
)


def access_options(command: Command) -> Command:
    """Add the options about access."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def read_access(options: Mapping[str, Any]) -> AccessRules | None:
    """Return the rules that the options of `access_options` define; None if there are none.

    Raises:
        ConfigError: an option is invalid.
    """
    rules = AccessRules(plain_http=options.get("plain_http") or "redirect", hsts_s=_hsts_s(options.get("hsts")))
    return None if rules == AccessRules() else rules


def _hsts_s(text: str | None) -> int | None:
    if text is None:
        return None
    try:
        seconds = parse_duration_s(text)
    except ConfigError as exc:
        raise ConfigError(f"--hsts: {exc}") from exc
    if not 0 <= seconds <= HSTS_S_MAX:
        raise ConfigError(f"--hsts: invalid duration {text!r}: expected at most 3650d; 0s makes browsers forget it")
    return int(seconds)
