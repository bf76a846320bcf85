"""`portway server`: loads the settings and runs the server until stopped."""

import os
from pathlib import Path

import click

from portway.cli.examples import examples
from portway.cli.options import config_option, output_options, settings_options
from portway.server.settings import ServerSettings

EXAMPLES = examples(
    ("portway server", "a server for this machine only, to try it"),
    ("portway server --domain tunnel.example.org", "a public server: port 80 for visitors, 4443 for agents"),
    ("portway server --domain tunnel.example.org --http 127.0.0.1:8080 --trusted-proxies 127.0.0.1", "behind nginx or Caddy"),
    ("portway server --config /etc/portway/portway.toml --workers 4", "settings from a file, four processes"),
)


@click.command("server", epilog=EXAMPLES)
@config_option
@settings_options(ServerSettings)
@output_options
def server(config: Path | None, as_json: bool, log_level: str, **flags: object) -> int:
    """Run the server on a machine with a public address. It accepts visitors and forwards them to agents.

    Without options it serves only this machine: names under localhost, port 8080.
    """
    from portway.config.sources import load_settings
    from portway.server.settings import defaults_for

    settings = load_settings(ServerSettings, "server", flags=flags, environ=os.environ, file=config, defaults=defaults_for)
    return _serve(settings, as_json, log_level)


def _serve(settings: ServerSettings, as_json: bool, log_level: str) -> int:
    from portway.cli.lifecycle import STDOUT, open_output, run_until_stopped, with_status
    from portway.clock import wall
    from portway.config.reloading import reload_requests
    from portway.server.app import serve
    from portway.server.events import ServerEvent
    from portway.server.reporting.console import Console, json_console
    from portway.server.reporting.status import ServerStatusTracker
    from portway.telemetry.terminal import Style

    with open_output(as_json=as_json, log_level=log_level) as output:
        console = json_console(output.out.write, wall) if as_json else Console(output.out.write, Style.of(STDOUT))
        status = ServerStatusTracker(wall)

        def on_event(event: ServerEvent) -> None:
            status(event)
            console(event)

        async def work() -> int:
            if settings.workers > 1:
                from portway.cli.worker import worker_command
                from portway.server.workers.supervisor import supervise

                await supervise(settings, worker_command(log_level, as_json=as_json), on_event=on_event, report_relays=as_json)
            else:
                await serve(settings, on_event=on_event, report_relays=as_json)
            return 0

        return run_until_stopped(lambda: with_status("server", status.to_json, work), on_hangup=reload_requests.request)
