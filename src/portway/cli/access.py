"""Options of `portway http` for access to the tunnel: users, addresses, plain HTTP, and Strict-Transport-Security."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from portway.config.client_ca import check_client_ca
from portway.errors import ConfigError, RefusedError
from portway.protocol.control.messages import CLIENT_CA_CHARS_MAX, HSTS_S_MAX, NETWORKS_MAX, AccessRules
from portway.protocol.http_access import check_access
from portway.protocol.networks import read_networks
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
        "--basic-auth-file",
        metavar="FILE",
        type=click.Path(path_type=Path, exists=True, dir_okay=False),
        envvar="PORTWAY_BASIC_AUTH_FILE",
        show_envvar=True,
        help="Require the name and password of a user in FILE; `portway passwd` writes it.",
    ),
    click.option(
        "--allow-ip",
        metavar="NETWORKS",
        multiple=True,
        envvar="PORTWAY_ALLOW_IP",
        show_envvar=True,
        help="Accept only visitors from NETWORKS, comma-separated: 192.0.2.0/24,2001:db8::/32. Repeatable; the smallest matching network decides.",
    ),
    click.option(
        "--deny-ip",
        metavar="NETWORKS",
        multiple=True,
        envvar="PORTWAY_DENY_IP",
        show_envvar=True,
        help="Refuse visitors from NETWORKS. Repeatable; the smallest matching network decides.",
    ),
    click.option(
        "--client-ca",
        metavar="FILE",
        type=click.Path(path_type=Path, exists=True, dir_okay=False),
        envvar="PORTWAY_CLIENT_CA",
        show_envvar=True,
        help="Require a client certificate from a CA in FILE (PEM), over HTTPS only; the service gets it in Client-Cert.",
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
    from portway.credentials.password_file import read_users

    users_file = options.get("basic_auth_file")
    rules = AccessRules(
        plain_http=options.get("plain_http") or "redirect",
        hsts_s=_hsts_s(options.get("hsts")),
        users=[] if users_file is None else read_users(users_file),
        allow_ip=_networks("--allow-ip", options.get("allow_ip") or ()),
        deny_ip=_networks("--deny-ip", options.get("deny_ip") or ()),
        client_ca=_client_ca(options.get("client_ca")),
    )
    if users_file is not None and not rules.users:
        raise ConfigError(
            f"--basic-auth-file: {users_file} has no user: expected at least one; `portway passwd {users_file} USER` adds one"
        )
    try:
        check_access(rules)
    except RefusedError as exc:
        flags = "--client-ca, --plain-http" if rules.client_ca else "--allow-ip, --deny-ip"
        raise ConfigError(f"{flags}: {exc.reason}. {exc.next_step}") from exc
    return None if rules == AccessRules() else rules


def _networks(flag: str, texts: Sequence[str]) -> list[str]:
    try:
        networks = [network for text in texts for network in read_networks(text)]
    except ConfigError as exc:
        raise ConfigError(f"{flag}: {exc}") from exc
    if len(networks) > NETWORKS_MAX:
        raise ConfigError(f"{flag}: too many networks ({len(networks)}): expected at most {NETWORKS_MAX}")
    return networks


def _client_ca(file: Path | None) -> str:
    if file is None:
        return ""
    try:
        text = file.read_text("ascii")
    except (OSError, ValueError) as exc:
        raise ConfigError(f"--client-ca: cannot read {file}: expected a PEM file with certificates") from exc
    if not text or len(text) > CLIENT_CA_CHARS_MAX:
        raise ConfigError(
            f"--client-ca: {file} has {len(text)} bytes: expected 1 to {CLIENT_CA_CHARS_MAX}; leave out comments and CAs that are not needed"
        )
    try:
        check_client_ca(text)
    except ConfigError as exc:
        raise ConfigError(f"--client-ca: {file}: {exc}") from exc
    return text


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
