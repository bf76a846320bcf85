"""`portway start`: runs an agent with the tunnels of a configuration file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import click

from portway.cli.agent_run import SessionOptions, agent_settings, run_agent
from portway.cli.examples import examples
from portway.cli.expose import session_options
from portway.config.paths import config_file
from portway.errors import ConfigError

EXAMPLES = examples(
    ("portway start blog api", "two tunnels, or all tunnels of two groups"),
    ("portway start --config portway.toml --all", "all tunnels of another file; `portway config example` prints one"),
)


def _load_session(context: click.Context, _parameter: click.Parameter, value: Path | None) -> Path:
    """Make table [agent] the defaults of the other options: flags and environment come first."""
    from portway.cli.tunnel_file import session_values

    path = value or config_file()
    if not path.exists():
        raise ConfigError(f"{path}: no such file; `portway config edit` creates it, `portway config example` prints an example")
    context.default_map = session_values(path)
    return path


tunnel_config_option = click.option(
    "--config",
    metavar="FILE",
    type=click.Path(path_type=Path),
    is_eager=True,
    callback=_load_session,
    envvar="PORTWAY_CONFIG",
    show_envvar=True,
    help="Read tunnels from the TOML file FILE.  [default: ~/.config/portway/portway.toml]",
)


@click.command("start", epilog=EXAMPLES)
@click.argument("names", metavar="[NAME]...", nargs=-1)
@click.option("--all", "all_tunnels", is_flag=True, help="Start all tunnels of the file.")
@tunnel_config_option
@session_options
def start(names: tuple[str, ...], all_tunnels: bool, config: Path, **options: object) -> int:
    """Start tunnels of a configuration file in one session: those with the names or in the groups NAME, or all.

    The file is read again when it changes, and on SIGHUP: what changed in it is printed and applied, and the connections of all other tunnels
    continue. A file with errors changes nothing.
    """
    from portway.cli.tunnel_file import load_tunnel_file
    from portway.cli.tunnel_reloading import TunnelReloading

    file = load_tunnel_file(config)
    if not file.tunnels:
        raise ConfigError(f'{config}: no tunnels; add a table such as [tunnels.blog] with target = "3000"')
    if bool(names) == all_tunnels:
        known = ", ".join(file.tunnels)
        raise ConfigError(f"NAME: give names of tunnels or --all, not both; {config} has {known}")
    session = cast(SessionOptions, cast(Mapping[str, Any], options))
    tunnels = tuple(file.select(names))
    return run_agent(agent_settings(tunnels, session), session, TunnelReloading(file, names))
