"""`portway proxy`: runs a forward proxy."""

import os
from pathlib import Path

import click

from portway.cli.examples import examples
from portway.cli.options import output_options, settings_options
from portway.forward.settings import ForwardSettings

EXAMPLES = examples(
    ("portway proxy", "for programs on this machine: curl -x http://127.0.0.1:8080 https://example.org/"),
    ("portway proxy --listen 127.0.0.1:1080 --allow-private", "SOCKS5 and HTTP, into private networks, too"),
    ("portway proxy --listen :8443 --open --tls-cert cert.pem --tls-key key.pem", "an HTTPS proxy for all that can reach it"),
    ("portway proxy --destination db.internal:5432 --idle-timeout 10m", "one target, without a proxy protocol"),
)


@click.command("proxy", epilog=EXAMPLES)
@click.option(
    "--config",
    metavar="FILE",
    type=click.Path(path_type=Path),
    envvar="PORTWAY_CONFIG",
    show_envvar=True,
    help="Read settings from the TOML file FILE: table [proxy], keys named like the flags, with underscores.",
)
@settings_options(ForwardSettings)
@output_options
def proxy(config: Path | None, as_json: bool, log_level: str, **flags: object) -> int:
    """Run a forward proxy: HTTP CONNECT, SOCKS5 and SOCKS4 on one port, detected by the first bytes.

    Only programs on this machine can use it by default, and only targets with public addresses are allowed. SIZE is like 100mb, 10MiB or 4096
    (bytes), TIME like 90s, 1h30m or 500ms.
    """
    from portway.config.sources import load_settings

    settings = load_settings(ForwardSettings, "proxy", flags=flags, environ=os.environ, file=config)
    return _serve(settings, as_json, log_level)


def _serve(settings: ForwardSettings, as_json: bool, log_level: str) -> int:
    from portway.cli.lifecycle import STDOUT, open_output, run_until_stopped, with_status
    from portway.clock import wall
    from portway.forward.app import DRAIN_S_MAX, serve
    from portway.forward.console import Console, json_console
    from portway.forward.events import ForwardEvent
    from portway.forward.status import ForwardStatusTracker
    from portway.telemetry.terminal import Style

    with open_output(as_json=as_json, log_level=log_level) as output:
        console = json_console(output.out.write, wall) if as_json else Console(output.out.write, Style.of(STDOUT))
        status = ForwardStatusTracker(wall)

        def on_event(event: ForwardEvent) -> None:
            status(event)
            console(event)

        async def work() -> int:
            await serve(settings, on_event=on_event)
            return 0

        return run_until_stopped(lambda: with_status("proxy", status.to_json, work), DRAIN_S_MAX)
