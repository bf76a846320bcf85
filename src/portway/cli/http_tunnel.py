"""The command line of http-tunnel on `portway proxy`, for a move without changes: `python -m portway.forward.http_tunnel`."""

import dataclasses
import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from portway.cli.options import output_options

if TYPE_CHECKING:
    from portway.forward.settings import ForwardSettings

PROGRAM = "python -m portway.forward.http_tunnel"

Load = Callable[[dict[str, object]], "ForwardSettings"]


def _refuse_password(_ctx: click.Context, _param: click.Parameter, value: str | None) -> None:
    if value is not None:
        raise click.UsageError(
            "--password: not accepted, because the command lines of processes are visible to all users of a machine: write the password to a "
            "file and give --password-file FILE, or set PORTWAY_TLS_PASSWORD"
        )


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option(
    "--config", metavar="FILE", type=click.Path(path_type=Path), help="Read the YAML file FILE of http-tunnel. Reloaded when it changes."
)
@click.option("--bind", metavar="ADDR:PORT", required=True, help="Listen for clients on ADDR:PORT, for example 0.0.0.0:8443.")
@click.option("--allow-private", is_flag=True, help="Allow private, loopback and other special addresses, as http-tunnel does.")
@output_options
@click.pass_context
def http_tunnel(ctx: click.Context, /, config: Path | None, bind: str, allow_private: bool, as_json: bool, log_level: str) -> None:
    """Run `portway proxy` with the options and the configuration file of http-tunnel.

    All clients that can reach ADDR:PORT can use the proxy. Targets with private addresses are refused, unless --allow-private or `allow_private: true` in the
    file's target_connection allows them.
    """
    ctx.obj = partial(_run, config, {"listen": bind, "open": True, "allow_private": allow_private or None}, as_json, log_level)


@http_tunnel.command("http")
@click.pass_obj
def http(run: Callable[..., int]) -> int:
    """Accept clients without TLS."""
    return run({})


@http_tunnel.command("https")
@click.option("--pk", metavar="FILE", required=True, help="Read certificate and key from the PKCS #12 file FILE.")
@click.option("--password", hidden=True, expose_value=False, is_eager=True, callback=_refuse_password)
@click.option("--password-file", metavar="FILE", help="Read its password from the first line of FILE.  [default: PORTWAY_TLS_PASSWORD]")
@click.pass_obj
def https(run: Callable[..., int], /, pk: str, password_file: str | None) -> int:
    """Accept clients over TLS."""
    return run({"tls_pkcs12": pk, "tls_password_file": password_file})


@http_tunnel.command("tcp")
@click.option("-d", "--destination", metavar="HOST:PORT", required=True, help="Connect every client to HOST:PORT.")
@click.pass_obj
def tcp(run: Callable[..., int], /, destination: str) -> int:
    """Connect all clients to one target, without a proxy protocol; the expression for allowed targets does not apply."""
    return run({"destination": destination})


def _run(config: Path | None, common: dict[str, object], as_json: bool, log_level: str, flags: dict[str, object]) -> int:
    from portway.cli.proxy import run_proxy
    from portway.forward.config.loading import load_http_tunnel_settings

    def load() -> "ForwardSettings":
        settings = load_http_tunnel_settings(flags={**common, **flags}, environ=os.environ, file=config)
        return settings if settings.destination is None else dataclasses.replace(settings, allow=())

    settings = load()
    if not settings.is_local and settings.users is None:
        click.echo(
            f"portway: warning: {settings.listen} is open to all that can reach it, as with http-tunnel; `portway proxy --users FILE` requires passwords",
            err=True,
        )
    return run_proxy(load, config, as_json, log_level)


def main(args: Sequence[str] | None = None) -> NoReturn:
    """Run the command line of this process and exit."""
    from portway.cli.main import exit_code_of

    sys.exit(exit_code_of(lambda: http_tunnel.main(args, prog_name=PROGRAM, standalone_mode=False)))


if __name__ == "__main__":
    main()
