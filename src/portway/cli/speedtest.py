"""`portway speedtest`: measures the connection to the server and reports the bottleneck."""

import os
from pathlib import Path

import click

from portway.agent.settings import AgentSettings
from portway.agent.speed.runner import SpeedTestOptions
from portway.cli.examples import examples
from portway.cli.expose import ca_option, links_option, plaintext_option
from portway.cli.options import agent_options, output_options
from portway.cli.server_proxy import server_proxy, server_proxy_options
from portway.errors import ConfigError

STOPPED_EARLY = 1
"""Exit code of a test that was stopped before its end."""

EXAMPLES = examples(
    ("portway speedtest", "measure the connection to the server, for half a minute"),
    ("portway speedtest --seconds 2 --streams 32 --json", "shorter, with more streams, events as JSON"),
)


@click.command("speedtest", epilog=EXAMPLES)
@click.option(
    "--seconds",
    metavar="S",
    type=click.FloatRange(0.5, 30.0),
    default=5.0,
    show_default=True,
    envvar="PORTWAY_SECONDS",
    show_envvar=True,
    help="Run each of the four measurements for S seconds.",
)
@click.option(
    "--streams",
    metavar="N",
    type=click.IntRange(2, 64),
    default=8,
    show_default=True,
    envvar="PORTWAY_STREAMS",
    show_envvar=True,
    help="Number of streams in the multi-stream measurements.",
)
@plaintext_option
@links_option
@ca_option
@server_proxy_options
@agent_options
@output_options
def speedtest(
    seconds: float,
    streams: int,
    plaintext_links: bool,
    max_links: int,
    ca_file: Path | None,
    proxy: str | None,
    proxy_auth_file: Path | None,
    join_file: Path | None,
    server: str,
    data: Path | None,
    as_json: bool,
    log_level: str,
) -> int:
    """Test the connection to the server and report the bottleneck.

    Measures round trips, and throughput in both directions with one stream and with many, over the links that tunnels use. Needs no tunnel. Uses all
    available bandwidth for about half a minute.
    """
    from portway.agent.join_store import agent_folder, load_join_string
    from portway.telemetry.logs import secrets_mask

    folder = agent_folder(data)
    join = load_join_string(join_file, os.environ, folder, server)
    secrets_mask.hide(join.secret)
    if ca_file is not None and (join.pin is not None or join.plaintext):
        raise ConfigError("--ca-file: cannot be used: this join string already defines how the server is verified")
    settings = AgentSettings(
        join=join,
        tunnels=(),
        data_dir=folder,
        plaintext_links=plaintext_links,
        links_max=max_links,
        ca_file=ca_file,
        proxy=server_proxy(proxy, proxy_auth_file, join, os.environ),
    )
    return _run(settings, SpeedTestOptions(seconds=seconds, streams=streams), as_json, log_level)


def _run(settings: AgentSettings, options: SpeedTestOptions, as_json: bool, log_level: str) -> int:
    from portway.agent.speed.console import Console, json_console
    from portway.agent.speed.events import EventSink
    from portway.agent.speed.runner import run
    from portway.cli.lifecycle import STDOUT, open_output, run_until_stopped
    from portway.clock import wall
    from portway.telemetry.terminal import Style

    with open_output(as_json=as_json, log_level=log_level) as output:
        console: EventSink
        style = Style.of(STDOUT)
        if as_json:
            console = json_console(output.out.write, wall)
        else:
            console = Console(output.out.write, style, live=style.colours)
        finished = False

        async def work() -> int:
            nonlocal finished
            await run(settings, options, on_event=console)
            finished = True
            return 0

        code = run_until_stopped(work)
        if not finished:
            click.echo("portway: stopped; the results so far are above", err=True)
        return code if finished else STOPPED_EARLY
