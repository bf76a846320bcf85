"""`portway http` and `portway tcp`: one tunnel to one local service, until it is stopped."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TypedDict, Unpack

import click

from portway.agent.settings import AgentSettings, TunnelRequest
from portway.agent.target import parse_target
from portway.cli.durations import connect_option, drain_option
from portway.cli.examples import examples
from portway.cli.limits import limits_options, read_limits
from portway.cli.options import agent_options, output_options
from portway.cli.rewriting import read_rewriting, rewriting_options
from portway.errors import ConfigError
from portway.protocol.units import parse_duration_s

takeover_option = click.option(
    "--takeover",
    is_flag=True,
    envvar="PORTWAY_TAKEOVER",
    show_envvar=True,
    help="Take the address even from another session of this agent that still answers.",
)
plaintext_option = click.option(
    "--plaintext-links",
    is_flag=True,
    envvar="PORTWAY_PLAINTEXT_LINKS",
    show_envvar=True,
    help="Speak without TLS, on a network that is already private. The server must say so too.",
)
ca_option = click.option(
    "--ca-file",
    metavar="FILE",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    envvar="PORTWAY_CA_FILE",
    show_envvar=True,
    help="CA certificates for a server whose join string has no pin.  [default: the system's]",
)


log_time_option = click.option(
    "--log-time", is_flag=True, envvar="PORTWAY_LOG_TIME", show_envvar=True, help="Begin each request or connection with the time of day."
)
links_option = click.option(
    "--max-links",
    metavar="N",
    type=click.IntRange(1, 16),
    default=4,
    show_default=True,
    envvar="PORTWAY_MAX_LINKS",
    show_envvar=True,
    help="Connections to the server that take visitors. Further ones are opened when traffic asks for them.",
)


ORIGIN_TIMEOUT_S_MAX = 30 * 86400.0


class _Limits(TypedDict, total=False):
    """What `http` and `tcp` take of `limits_options`."""

    idle_timeout: str | None
    min_rate: str | None
    max_rate: str | None
    bandwidth: str | None
    max_lifetime: str | None
    max_total_payload: str | None


class _Rewriting(TypedDict, total=False):
    """What `http` takes of `rewriting_options`."""

    host_header: str
    request_headers: tuple[str, ...]
    response_headers: tuple[str, ...]
    origin_timeout: str | None


class _Options(_Limits, _Rewriting):
    """What `http` and `tcp` take alike."""

    plaintext_links: bool
    max_links: int
    connect_timeout: float | None
    drain: float
    ca_file: Path | None
    join_file: Path | None
    server: str
    data: Path | None
    log_time: bool
    as_json: bool
    log_level: str


HTTP_EXAMPLES = examples(
    ("portway http 3000", "a random name for the service on port 3000"),
    ("portway http 3000 --name app", "http://app.DOMAIN, the same name at each start"),
    ("portway http 5173 --host-header rewrite", "for a development server that checks the Host field"),
    ("portway http https://intranet:8443 --host intra.example.org", "another machine's HTTPS service, under a whole host name"),
    ("portway http unix:/run/app.sock --json", "a unix socket; one event a line for programs"),
)
TCP_EXAMPLES = examples(
    ("portway tcp 22", "reach this machine's SSH through a free public port"),
    ("portway tcp db.internal:5432 --port 20432", "a database in this network, through a fixed port"),
    ("portway tcp 25565 --max-rate 1mb --idle-timeout 10m", "a game server, with limits for each connection"),
)


@click.command("http", epilog=HTTP_EXAMPLES)
@click.argument("target", metavar="TARGET")
@click.option("--name", metavar="NAME", default="", envvar="PORTWAY_NAME", show_envvar=True, help="Name below the server's domain.")
@click.option("--host", metavar="HOST", default="", envvar="PORTWAY_HOST", show_envvar=True, help="A whole host name instead.")
@takeover_option
@click.option(
    "--origin-timeout",
    metavar="TIME",
    envvar="PORTWAY_ORIGIN_TIMEOUT",
    show_envvar=True,
    help="Answer 504 when the service takes longer to begin a response.  [default: no limit]",
)
@rewriting_options
@limits_options(environment=True)
@plaintext_option
@links_option
@connect_option
@drain_option
@ca_option
@agent_options
@log_time_option
@output_options
def http(target: str, name: str, host: str, takeover: bool, **rest: Unpack[_Options]) -> int:
    """Show a local web service: TARGET is 3000, host:port, https://host:port or unix:/path.

    Without --name or --host the server chooses a name that nobody guesses, the same one next time. SIZE is 100mb, 10MiB or 4096 (bytes), TIME 90s, 1h30m
    or 500ms. Limits of a connection are those of a request with its answer, or of a WebSocket; rates those of a visitor.
    """
    if name and host:
        raise ConfigError("--name, --host: give one of them, a name below the server's domain or a whole host name")
    parsed = parse_target(target, "http")
    request = TunnelRequest(
        kind="http",
        target=parsed,
        name=name,
        host=host,
        takeover=takeover,
        rewrite=read_rewriting(parsed, rest),
        origin_timeout_s=_origin_timeout_s(rest.get("origin_timeout")),
        policy=read_limits(rest),
    )
    return _expose(request, **rest)


@click.command("tcp", epilog=TCP_EXAMPLES)
@click.argument("target", metavar="TARGET")
@click.option(
    "--port",
    metavar="PORT",
    type=click.IntRange(1, 65535),
    default=None,
    envvar="PORTWAY_PORT",
    show_envvar=True,
    help="Public port; else the server chooses.",
)
@takeover_option
@limits_options(environment=True)
@plaintext_option
@links_option
@connect_option
@drain_option
@ca_option
@agent_options
@log_time_option
@output_options
def tcp(target: str, port: int | None, takeover: bool, **rest: Unpack[_Options]) -> int:
    """Show any local service that speaks TCP: TARGET is 5432, host:port or unix:/path.

    SIZE is 100mb, 10MiB or 4096 (bytes), TIME 90s, 1h30m or 500ms. A connection that a limit ends is broken off: nobody takes it
    for complete.
    """
    request = TunnelRequest(kind="tcp", target=parse_target(target, "tcp"), port=port or 0, takeover=takeover, policy=read_limits(rest))
    return _expose(request, **rest)


def _origin_timeout_s(text: str | None) -> float:
    if text is None:
        return 0.0
    try:
        seconds = parse_duration_s(text)
    except ConfigError as exc:
        raise ConfigError(f"--origin-timeout: {exc}") from exc
    if not 0 < seconds <= ORIGIN_TIMEOUT_S_MAX:
        raise ConfigError("--origin-timeout: expected more than nothing, and at most 30d; leave it out for no limit")
    return seconds


def _expose(request: TunnelRequest, **options: Unpack[_Options]) -> int:
    """Run an agent with one tunnel."""
    from portway.agent.join_store import agent_folder, load_join_string
    from portway.telemetry.logs import secrets_mask

    ca_file = options["ca_file"]
    folder = agent_folder(options["data"])
    join = load_join_string(options["join_file"], os.environ, folder, options["server"])
    secrets_mask.hide(join.secret)
    if ca_file is not None and (join.pin is not None or join.plaintext):
        raise ConfigError("--ca-file: the join string says how to know the server already; a CA is not asked")
    settings = AgentSettings(
        join=join,
        tunnels=(request,),
        data_dir=folder,
        plaintext_links=options["plaintext_links"],
        links_max=options["max_links"],
        connect_s_max=options["connect_timeout"],
        drain_s=options["drain"],
        ca_file=ca_file,
    )
    return _run(settings, options["as_json"], options["log_level"], log_time=options["log_time"])


def _run(settings: AgentSettings, as_json: bool, log_level: str, *, log_time: bool) -> int:
    from portway.agent.app import run
    from portway.agent.console import Console, Tell, json_console
    from portway.agent.events import AgentEvent
    from portway.agent.status import AgentStatusTracker
    from portway.cli.lifecycle import STDERR, STDOUT, open_output, run_until_stopped, with_status
    from portway.clock import wall
    from portway.telemetry.terminal import Style, is_terminal

    with open_output(as_json=as_json, log_level=log_level) as output:
        console: Tell
        if as_json:
            console = json_console(output.out.write, wall)
        else:
            console = Console(
                output.out.write,
                output.err.write,
                Style.of(STDOUT),
                Style.of(STDERR),
                is_terminal(STDOUT),
                log_time=wall if log_time else None,
            )
        board = AgentStatusTracker(f"{settings.join.host}:{settings.join.port}", wall)

        def on_event(event: AgentEvent) -> None:
            board(event)
            console(event)

        def watch(moved: Callable[[], dict[int, tuple[int, int]]]) -> None:
            board.moved = moved

        return run_until_stopped(
            lambda: with_status("agent", board.document, lambda: run(settings, on_event=on_event, watch=watch)),
            settings.drain_s,
        )
