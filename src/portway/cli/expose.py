"""`portway http`, `portway tcp` and `portway tls`: run an agent with one tunnel until stopped."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypedDict, TypeVar, Unpack

import click

from portway.agent.settings import TunnelRequest
from portway.cli.access import access_options
from portway.cli.agent_run import SessionOptions, agent_settings, run_agent
from portway.cli.durations import connect_option, drain_option
from portway.cli.examples import examples
from portway.cli.inspector_options import inspector_options
from portway.cli.limits import limits_options
from portway.cli.options import agent_options, output_options
from portway.cli.rewriting import rewriting_options
from portway.cli.server_proxy import server_proxy_options
from portway.cli.termination import termination_options
from portway.cli.tunnel_request import tunnel_request

Command = TypeVar("Command", bound=Callable[..., Any])

takeover_option = click.option(
    "--takeover",
    is_flag=True,
    envvar="PORTWAY_TAKEOVER",
    show_envvar=True,
    help="Take over the address even if another running session of this agent uses it.",
)
name_option = click.option(
    "--name", metavar="NAME", default="", envvar="PORTWAY_NAME", show_envvar=True, help="Request NAME under the server's domain."
)
host_option = click.option(
    "--host",
    metavar="HOST",
    default="",
    envvar="PORTWAY_HOST",
    show_envvar=True,
    help="Request the full host name HOST instead of a name under the domain.",
)
send_proxy_option = click.option(
    "--send-proxy",
    is_flag=True,
    envvar="PORTWAY_SEND_PROXY",
    show_envvar=True,
    help="Send a PROXY protocol v2 header with the visitor's address to the service first.",
)
plaintext_option = click.option(
    "--plaintext-links",
    is_flag=True,
    envvar="PORTWAY_PLAINTEXT_LINKS",
    show_envvar=True,
    help="Connect without TLS; for private networks only. The server must be started with the same option.",
)
ca_option = click.option(
    "--ca-file",
    metavar="FILE",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    envvar="PORTWAY_CA_FILE",
    show_envvar=True,
    help="Verify the server with the CA certificates in FILE; for join strings without a pin.  [default: the system's]",
)


log_time_option = click.option(
    "--log-time",
    is_flag=True,
    envvar="PORTWAY_LOG_TIME",
    show_envvar=True,
    help="Prefix request and connection lines with the time of day.",
)
links_option = click.option(
    "--max-links",
    metavar="N",
    type=click.IntRange(1, 16),
    default=4,
    show_default=True,
    envvar="PORTWAY_MAX_LINKS",
    show_envvar=True,
    help="Open at most N connections to the server: one at start, more when traffic requires them.",
)


def static_options(command: Command) -> Command:
    """Add the options of origins that the agent is itself."""
    options = (
        click.option("--listing", is_flag=True, help="List folders that have no index.html; for a folder as TARGET."),
        click.option(
            "--status",
            metavar="CODE",
            type=click.IntRange(200, 599),
            default=None,
            help="Respond to every request with status CODE instead of a TARGET.",
        ),
        click.option("--body", metavar="TEXT", default="", help="Use TEXT as the body of that response, as HTML if it begins with '<'."),
    )
    for option in reversed(options):
        command = option(command)
    return command


def session_options(command: Command) -> Command:
    """Add the options of one agent's session, which are the same for any number of tunnels."""
    options = (
        *(plaintext_option, links_option, connect_option, drain_option, ca_option, server_proxy_options, agent_options),
        *(inspector_options, log_time_option, output_options),
    )
    for option in reversed(options):
        command = option(command)
    return command


class _Limits(TypedDict, total=False):
    """Values of `limits_options`."""

    idle_timeout: str | None
    min_rate: str | None
    max_rate: str | None
    bandwidth: str | None
    max_lifetime: str | None
    max_total_payload: str | None


class _Rewriting(TypedDict, total=False):
    """Values of `rewriting_options`, which only `http` has."""

    host_header: str
    request_headers: tuple[str, ...]
    response_headers: tuple[str, ...]
    origin_timeout: str | None


class _Access(TypedDict, total=False):
    """Values of `access_options`, which only `http` has."""

    plain_http: str
    basic_auth_file: Path | None
    allow_ip: tuple[str, ...]
    deny_ip: tuple[str, ...]
    hsts: str | None


class _Static(TypedDict, total=False):
    """Values of `static_options`, which only `http` has."""

    listing: bool
    status: int | None
    body: str


class _Termination(TypedDict, total=False):
    """Values of `termination_options`, which only `http` has."""

    terminate: str
    cert: Path | None
    key: Path | None
    acme_email: str
    acme_directory: str
    acme_ca: Path | None


class _Options(_Limits, _Rewriting, _Access, _Static, _Termination, SessionOptions):
    """Option values that all commands share, or pass on."""


HTTP_EXAMPLES = examples(
    ("portway http 3000", "a random name for the service on port 3000"),
    ("portway http 3000 --name app", "http://app.DOMAIN, the same name at each start"),
    ("portway http 5173 --host-header rewrite", "for a development server that checks the Host field"),
    ("portway http https://intranet:8443 --host intra.example.org", "another machine's HTTPS service, under a full host name"),
    ("portway http unix:/run/app.sock --json", "a Unix socket; events as JSON"),
    ("portway http ./public --listing", "the files of a folder"),
    ("portway http --name app --status 503 --body 'Back at noon.'", "the same response to every request"),
)
TCP_EXAMPLES = examples(
    ("portway tcp 22", "reach this machine's SSH through a free public port"),
    ("portway tcp db.internal:5432 --port 20432", "a database in this network, through a fixed port"),
    ("portway tcp 25565 --max-rate 1mb --idle-timeout 10m", "a game server, with limits for each connection"),
)
TLS_EXAMPLES = examples(
    ("portway tls 8443", "a random name for the TLS service on port 8443, such as nginx with its own certificate"),
    ("portway tls 8443 --host shop.example.org", "https://shop.example.org, with the service's own certificate for it"),
    ("portway tls intranet:443 --name intra --send-proxy", "another machine's service, which gets the visitor's address"),
)


@click.command("http", epilog=HTTP_EXAMPLES)
@click.argument("target", metavar="TARGET", required=False)
@static_options
@name_option
@host_option
@takeover_option
@click.option(
    "--origin-timeout",
    metavar="TIME",
    envvar="PORTWAY_ORIGIN_TIMEOUT",
    show_envvar=True,
    help="Respond with 504 if the service does not start a response within TIME.  [default: no limit]",
)
@access_options
@termination_options
@rewriting_options
@limits_options(environment=True)
@session_options
def http(target: str | None, name: str, host: str, takeover: bool, **rest: Unpack[_Options]) -> int:
    """Expose a local HTTP service: TARGET is 3000, host:port, https://host:port, unix:/path, or a folder such as ./public.

    Without --name or --host the server assigns a random name, the same one at each start. SIZE is like 100mb, 10MiB or 4096 (bytes), TIME like 90s, 1h30m
    or 500ms. Limits apply to each request with its response, or to each WebSocket; --max-rate applies to each visitor connection.
    """
    return _expose(tunnel_request("http", {"target": target, "name": name, "host": host, "takeover": takeover, **rest}), **rest)


@click.command("tcp", epilog=TCP_EXAMPLES)
@click.argument("target", metavar="TARGET")
@click.option(
    "--port",
    metavar="PORT",
    type=click.IntRange(1, 65535),
    default=None,
    envvar="PORTWAY_PORT",
    show_envvar=True,
    help="Request the public port PORT.  [default: the server assigns one]",
)
@takeover_option
@send_proxy_option
@limits_options(environment=True)
@session_options
def tcp(target: str, port: int | None, takeover: bool, send_proxy: bool, **rest: Unpack[_Options]) -> int:
    """Expose a local TCP service: TARGET is 5432, host:port or unix:/path.

    SIZE is like 100mb, 10MiB or 4096 (bytes), TIME like 90s, 1h30m or 500ms. A limit ends a connection with a reset, so that partial data is not
    mistaken for complete data.
    """
    return _expose(tunnel_request("tcp", {"target": target, "port": port, "takeover": takeover, "send_proxy": send_proxy, **rest}), **rest)


@click.command("tls", epilog=TLS_EXAMPLES)
@click.argument("target", metavar="TARGET")
@name_option
@host_option
@takeover_option
@send_proxy_option
@limits_options(environment=True)
@session_options
def tls(target: str, name: str, host: str, takeover: bool, send_proxy: bool, **rest: Unpack[_Options]) -> int:
    """Expose a local TLS service by name: TARGET is 8443, host:port or unix:/path.

    The service has the certificate and the key; the server relays encrypted bytes by the requested name (SNI), without decryption. Without --name or
    --host the server assigns a random name, the same one at each start. SIZE is like 100mb, 10MiB or 4096 (bytes), TIME like 90s, 1h30m or 500ms. A
    limit ends a connection with a reset, so that partial data is not mistaken for complete data.
    """
    own = {"target": target, "name": name, "host": host, "takeover": takeover, "send_proxy": send_proxy}
    return _expose(tunnel_request("tls", {**own, **rest}), **rest)


def _expose(request: TunnelRequest, **options: Unpack[_Options]) -> int:
    """Run an agent with one tunnel."""
    return run_agent(agent_settings((request,), options), options)
