"""`portway join`: takes a join string without showing it, asks its server, and keeps it for the agent's commands."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from portway.cli.examples import examples
from portway.cli.expose import ca_option
from portway.cli.options import agent_options

if TYPE_CHECKING:
    from portway.protocol.join_string import JoinString

EXAMPLES = examples(
    ("portway join", "asks for the join string, without showing it"),
    ("portway join < join.txt", "reads it from a file"),
    ("ssh server portway token create laptop | portway join", "makes a token on the server and keeps it here"),
    ("portway join --server office", "keeps a second server's under a name of its own"),
)


@click.command("join", epilog=EXAMPLES)
@click.argument("pasted", nargs=-1, metavar="")
@click.option("--replace", is_flag=True, help="Let it take the place of another server's that is kept under the same name, or without one.")
@click.option("--offline", is_flag=True, help="Keep it without asking the server.")
@ca_option
@agent_options
def join(
    pasted: tuple[str, ...], replace: bool, offline: bool, ca_file: Path | None, join_file: Path | None, server: str, data: Path | None
) -> None:
    """Keep a server's join string: asks for it, or reads it from stdin.

    The server is asked first: what it refuses is not kept; when it cannot be reached, that is said. The string is kept in the data
    directory for this user alone, and every agent command finds it there. A second server gets a name, which agent commands take too:
    `portway join --server office`, then `portway http 3000 --server office`.
    """
    from portway.agent.join_store import agent_folder, check_server_name, save_join_string
    from portway.errors import ConfigError
    from portway.telemetry.logs import secrets_mask

    if pasted:
        raise ConfigError(
            "a join string on the command line can be seen by everybody on this machine and stays in the shell's history; "
            "run `portway join` alone and paste it there. If it was a real one, revoke its token"
        )
    if server:
        check_server_name(server)
    folder = agent_folder(data)
    if folder is None:
        raise ConfigError("data: this user has no home directory to keep a join string in; give --data DIR, or use PORTWAY_JOIN instead")
    found = _given(join_file)
    secrets_mask.hide(found.secret)
    if not replace:
        _check_place(folder, found, server)
    if not offline:
        _ask_server(found, folder, ca_file)
    path = save_join_string(folder, found, server)
    click.echo(f"Kept in {path}. Next: portway http 3000{f' --server {server}' if server else ''}", err=True)


def _given(join_file: Path | None) -> "JoinString":
    """Return the join string that the user gives, in whichever way."""
    from portway.agent.join_store import explicit_join_string
    from portway.cli.pasting import ask_pasted
    from portway.config.files import SECRET_BYTES_MAX
    from portway.protocol.join_string import parse

    found = explicit_join_string(join_file, os.environ)
    if found is not None:
        return found
    if sys.stdin.isatty():
        return parse(ask_pasted("Join string (not shown)"))
    return parse(sys.stdin.buffer.read(SECRET_BYTES_MAX).decode("ascii", "replace"))


def _check_place(folder: Path, found: "JoinString", server: str) -> None:
    """Make sure that no other server's join string would be lost."""
    from portway.agent.join_store import kept_join
    from portway.config.values import ListenAddress
    from portway.errors import ConfigError

    kept = kept_join(folder, server)
    if kept is None or (kept.host, kept.port) == (found.host, found.port) or (kept.pin is not None and kept.pin == found.pin):
        return
    name = f"the name {server}" if server else "no name"
    raise ConfigError(
        f"the join string of another server, {ListenAddress(kept.host, kept.port)}, is kept under {name}. Give this one a name of its own, `portway join "
        "--server NAME`, which agent commands take too; or --replace the other"
    )


def _ask_server(found: "JoinString", folder: Path, ca_file: Path | None) -> None:
    """Say what the server of a join string answers.

    Raises:
        RefusedError, ConfigError: it is not the right one, or refuses; nothing shall be kept.
    """
    import asyncio

    from portway.agent.settings import AgentSettings
    from portway.agent.trial import contact
    from portway.config.values import ListenAddress
    from portway.errors import ConfigError, RefusedError, UnavailableError
    from portway.protocol.units import format_duration
    from portway.telemetry.terminal import escape

    settings = AgentSettings(join=found, tunnels=(), data_dir=folder, plaintext_links=found.plaintext, ca_file=ca_file)
    where = ListenAddress(found.host, found.port)
    if sys.stderr.isatty():
        click.echo(f"Asking {where} ...", err=True)
    unkept = "Nothing was kept; --offline keeps a join string without asking its server"
    try:
        online = asyncio.run(contact(settings))
    except UnavailableError as exc:
        click.echo(f"portway: {escape(str(exc))}. Kept all the same: it is tried again by each agent command", err=True)
    except RefusedError as exc:
        hint = " (or the end of the join string is missing: ?pin=…)" if found.pin is None and exc.code == "wrong_certificate" else ""
        raise RefusedError(exc.code, exc.reason, f"{exc.next_step}{hint}. {unkept}".replace("..", ".").removeprefix(". ")) from exc
    except ConfigError as exc:
        raise ConfigError(f"{exc}. {unkept}") from exc
    else:
        away = f", {format_duration(online.rtt_s)} away," if online.rtt_s is not None else ""
        plain = "; its links are not encrypted, so agents have to say --plaintext-links" if found.plaintext else ""
        click.echo(f"Server {escape(online.server)} at {where}{away} accepts the token{plain}.", err=True)
