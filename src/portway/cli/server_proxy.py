"""The options `--proxy` and `--proxy-auth-file`: the proxy by which an agent reaches its server."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from portway.errors import ConfigError

if TYPE_CHECKING:
    from portway.agent.settings import ServerProxy
    from portway.protocol.join_string import JoinString
    from portway.protocol.proxy_url import ProxyUrl

Command = TypeVar("Command", bound=Callable[..., Any])

OFF = "off"
URL_VARIABLE = "PORTWAY_PROXY_URL"


def _refuse_password(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """Refuse credentials that other users of this machine can read."""
    if value and value != OFF and context.get_parameter_source(parameter.name or "") is not click.core.ParameterSource.ENVIRONMENT:
        from portway.protocol.proxy_url import parse_proxy_url

        if parse_proxy_url(value, "--proxy").has_credentials:
            raise ConfigError(
                "--proxy: the URL contains credentials, which other users of this machine can read: put USER:PASSWORD into a file and give "
                f"--proxy-auth-file FILE, or set the URL in the environment variable {URL_VARIABLE}"
            )
    return value


def server_proxy_options(command: Command) -> Command:
    """Add the options of the proxy between agent and server."""
    options = (
        click.option(
            "--proxy",
            metavar="URL",
            default=None,
            envvar=URL_VARIABLE,
            show_envvar=True,
            callback=_refuse_password,
            help="Connect to the server through the proxy URL (http://, https:// or socks5://HOST:PORT) only; 'off' connects directly.  "
            "[default: HTTPS_PROXY or ALL_PROXY, unless NO_PROXY names the server]",
        ),
        click.option(
            "--proxy-auth-file",
            metavar="FILE",
            type=click.Path(path_type=Path, exists=True, dir_okay=False),
            default=None,
            envvar="PORTWAY_PROXY_AUTH_FILE",
            show_envvar=True,
            help="Authenticate to the proxy with the line USER:PASSWORD of FILE.",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


def server_proxy(proxy: str | None, auth_file: Path | None, join: "JoinString", environ: Mapping[str, str]) -> "ServerProxy | None":
    """Return the proxy by which to reach the server of `join`; None: directly. Its password is masked in all output from now on.

    An invalid URL in HTTPS_PROXY, which is for all programs, is reported and ignored.

    Raises:
        ConfigError: the URL of an option or the file is invalid.
    """
    from portway.agent.settings import ServerProxy
    from portway.config.files import read_secret
    from portway.protocol.proxy_environment import proxy_variable
    from portway.protocol.proxy_url import parse_proxy_url

    found: ServerProxy | None = None
    if proxy and proxy != OFF:
        found = ServerProxy(parse_proxy_url(proxy, "--proxy"))
    elif not proxy and (variable := proxy_variable(join.host, join.port, environ)) is not None:
        try:
            found = ServerProxy(parse_proxy_url(environ[variable], variable), variable)
        except ConfigError as exc:
            click.echo(f"portway: {exc}. The server is contacted without a proxy", err=True)
    if auth_file is not None:
        if found is None or found.variable:
            raise ConfigError("--proxy-auth-file: cannot be used without --proxy URL")
        found = ServerProxy(found.url.with_credentials((read_secret(auth_file, follow=True) or b"").strip(b"\r\n"), f"{auth_file}"))
    if found is not None:
        _mask(found.url)
    return found


def _mask(url: "ProxyUrl") -> None:
    from base64 import b64encode

    from portway.telemetry.logs import secrets_mask

    secrets_mask.hide(url.password.decode("utf-8", "replace"))
    if url.has_credentials:
        secrets_mask.hide(b64encode(url.user + b":" + url.password).decode("ascii"))
