"""`portway config`: checks, edits and locates the configuration file of `portway start`."""

import json
import os
from pathlib import Path

import click

from portway.cli.examples import examples
from portway.cli.options import json_option
from portway.config.files import write_secret
from portway.config.paths import config_file
from portway.errors import ConfigError

EXAMPLE = """\
# Tunnels of `portway start`. Keys are the options of `portway http`, `tcp` and `tls`, with _ instead of -.
# "${NAME}" or "${NAME:-default}" in a value is an environment variable, "$$" a dollar sign. Paths are relative to this file.

[agent]                       # options of the whole session
# server = "work"             # which saved join string (portway join --server work)
# max_links = 4
# drain = "10s"

[defaults]                    # for every tunnel below whose kind has the option
# idle_timeout = "10m"

[tunnels.blog]                # https://blog.DOMAIN
target = "3000"
groups = ["web"]

# [tunnels.api]
# target = "http://127.0.0.1:8000"
# name = "api-${USER}"
# host_header = "rewrite"
# basic_auth_file = "api.users"
# groups = ["web"]

# [tunnels.ssh]
# kind = "tcp"
# target = "22"
# port = 20022
"""

EXAMPLES = examples(
    ("portway config edit", "edit ~/.config/portway/portway.toml, and check it afterwards"),
    ("portway config check portway.toml", "check a file without starting it"),
    ("portway config example > portway.toml", "begin a file"),
)


@click.group("config", epilog=EXAMPLES)
def config() -> None:
    """Check, edit and locate the configuration file with tunnels."""


@config.command("path")
def path() -> None:
    """Print the path of the configuration file that `portway start` reads by default."""
    click.echo(_chosen(None))


@config.command("example")
def example() -> None:
    """Print an example file."""
    click.echo(EXAMPLE, nl=False)


@config.command("check")
@click.argument("file", metavar="[FILE]", type=click.Path(path_type=Path), required=False)
@json_option("Print the tunnels as JSON.")
def check(file: Path | None, as_json: bool) -> None:
    """Check a configuration file and list its tunnels; errors name file, line and key.

    The tables [server] and [proxy] are checked, too, with the files of users and host lists that [proxy] names; .yaml files are those of http-tunnel.
    """
    _check(_chosen(file), as_json=as_json)


@config.command("edit")
@click.argument("file", metavar="[FILE]", type=click.Path(path_type=Path), required=False)
def edit(file: Path | None) -> None:
    """Edit the configuration file in $VISUAL or $EDITOR, and check it; a missing file begins as the example."""
    chosen = _chosen(file)
    if not chosen.exists():
        chosen.parent.mkdir(parents=True, exist_ok=True)
        write_secret(chosen, EXAMPLE.encode(), replace=False, own_folder=False)
    click.edit(filename=str(chosen))
    _check(chosen, as_json=False)


def _chosen(file: Path | None) -> Path:
    given = os.environ.get("PORTWAY_CONFIG")
    return file or (Path(given) if given else config_file())


def _check(path: Path, *, as_json: bool) -> None:
    from portway.cli.tunnel_file import load_tunnel_file
    from portway.config.sources import load_settings, read_toml
    from portway.forward.config.files import ForwardFiles
    from portway.forward.config.loading import YAML_SUFFIXES, load_forward_settings
    from portway.server.settings import ServerSettings, defaults_for

    if not path.exists():
        raise ConfigError(f"{path}: no such file; `portway config edit` creates it")
    if path.suffix in YAML_SUFFIXES:
        ForwardFiles().load(load_forward_settings(flags={}, environ={}, file=path))
        click.echo(json.dumps({"file": str(path), "tunnels": []}) if as_json else f"{path}: no errors, a file of http-tunnel")
        return
    content = read_toml(path)
    if "proxy" in content:
        ForwardFiles().load(load_forward_settings(flags={}, environ={}, file=path))
    file = load_tunnel_file(path)
    if "server" in content:
        load_settings(ServerSettings, "server", flags={}, environ={}, file=path, defaults=defaults_for)
    groups = {label: [group for group, labels in file.groups.items() if label in labels] for label in file.tunnels}
    if as_json:
        rows = [
            {"label": label, "kind": one.kind, "target": one.target.text, "groups": groups[label]} for label, one in file.tunnels.items()
        ]
        click.echo(json.dumps({"file": str(path), "tunnels": rows}))
        return
    click.echo(f"{path}: no errors, {len(file.tunnels)} tunnel{'' if len(file.tunnels) == 1 else 's'}")
    width = max(map(len, file.tunnels), default=0)
    for label, one in file.tunnels.items():
        click.echo(f"  {label:<{width}}  {one.kind:<4} {one.target.text}" + (f"  ({', '.join(groups[label])})" if groups[label] else ""))
