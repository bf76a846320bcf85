"""`portway proxy`: runs a forward proxy."""

import importlib
import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from portway.cli.examples import examples
from portway.cli.options import output_options, settings_options
from portway.forward.settings import ForwardSettings

if TYPE_CHECKING:
    from portway.forward.config.loading import LoadForwardSettings

EXAMPLES = examples(
    ("portway proxy", "for programs on this machine: curl -x http://127.0.0.1:8080 https://example.org/"),
    ("portway proxy --listen 127.0.0.1:1080 --allow-private", "SOCKS5 and HTTP, into private networks, too"),
    ("portway proxy user add ann --users users.txt", "add a user; then: portway proxy --listen :8080 --users users.txt"),
    ("portway proxy --allow '*.example.com:443' --block-list ads.txt", "some targets only"),
    ("portway proxy --listen :8443 --open --tls-cert cert.pem --tls-key key.pem", "an HTTPS proxy for all that can reach it"),
    ("portway proxy --destination db.internal:5432 --idle-timeout 10m", "one target, without a proxy protocol"),
)


class ProxyGroup(click.Group):
    """Runs a proxy without a subcommand; imports those only when they are used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the subcommands."""
        return ["user"]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return a subcommand; None if it is unknown."""
        if cmd_name not in self.list_commands(ctx):
            return None
        command: click.Command = importlib.import_module("portway.cli.proxy_user").user
        return command


@click.group("proxy", cls=ProxyGroup, invoke_without_command=True, epilog=EXAMPLES)
@click.option(
    "--config",
    metavar="FILE",
    type=click.Path(path_type=Path),
    envvar="PORTWAY_CONFIG",
    show_envvar=True,
    help="Read settings from FILE: TOML, table [proxy], keys named like the flags with underscores; or .yaml of http-tunnel. Reloaded when it changes.",
)
@settings_options(ForwardSettings)
@output_options
def proxy(config: Path | None, as_json: bool, log_level: str, **flags: object) -> int:
    """Run a forward proxy: HTTP, SOCKS5 and SOCKS4 on one port, detected by the first bytes.

    Only programs on this machine can use it by default, and only targets with public addresses are allowed. SIZE is like 100mb, 10MiB or 4096
    (bytes), TIME like 90s, 1h30m or 500ms.
    """
    ctx = click.get_current_context()
    if ctx.invoked_subcommand is not None:
        ctx.obj = (config, flags["users"])
        return 0
    from portway.forward.config.loading import load_forward_settings

    return run_proxy(partial(load_forward_settings, flags=flags, environ=os.environ, file=config), config, as_json, log_level)


def run_proxy(load: "LoadForwardSettings", config: Path | None, as_json: bool, log_level: str) -> int:
    """Serve with the settings that `load` returns, and again when a file changes; `config` is the configuration file."""
    from portway.cli.lifecycle import STDOUT, open_output, run_until_stopped, with_status
    from portway.clock import wall
    from portway.forward.app import DRAIN_S_MAX, serve
    from portway.forward.config.reloading import ForwardReloading
    from portway.forward.console import Console, json_console
    from portway.forward.events import ForwardEvent
    from portway.forward.status import ForwardStatusTracker
    from portway.telemetry.terminal import Style

    settings = load()
    reloading = ForwardReloading(load, config)
    with open_output(as_json=as_json, log_level=log_level) as output:
        console = json_console(output.out.write, wall) if as_json else Console(output.out.write, Style.of(STDOUT))
        status = ForwardStatusTracker(wall)

        def on_event(event: ForwardEvent) -> None:
            status(event)
            console(event)

        async def work() -> int:
            await serve(settings, on_event=on_event, reloading=reloading)
            return 0

        return run_until_stopped(lambda: with_status("proxy", status.to_json, work), DRAIN_S_MAX, reloading.on_hangup)
