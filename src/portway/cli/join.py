"""`portway join`: reads a join string without echoing it, checks it with its server, and saves it for agent commands."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from portway.cli.examples import examples
from portway.cli.expose import ca_option
from portway.cli.options import agent_options
from portway.cli.server_proxy import server_proxy_options

if TYPE_CHECKING:
    from portway.agent.settings import ServerProxy
    from portway.protocol.join_string import JoinString

EXAMPLES = examples(
    ("portway join", "prompt for the join string, without echo"),
    ("portway join < join.txt", "read it from a file"),
    ("ssh server portway token create laptop | portway join", "create a token on the server and save its join string here"),
    ("portway join --server office", "save the join string of a second server under its own name"),
)


@click.command("join", epilog=EXAMPLES)
@click.argument("pasted", nargs=-1, metavar="")
@click.option("--replace", is_flag=True, help="Replace a saved join string of a different server.")
@click.option("--offline", is_flag=True, help="Save the join string without contacting the server.")
@ca_option
@server_proxy_options
@agent_options
def join(
    pasted: tuple[str, ...],
    replace: bool,
    offline: bool,
    ca_file: Path | None,
    proxy: str | None,
    proxy_auth_file: Path | None,
    join_file: Path | None,
    server: str,
    data: Path | None,
) -> None:
    """Save a server's join string for later commands; reads it from a prompt or from stdin.

    The server is contacted first: a join string that it refuses is not saved; if it cannot be reached, the join string is saved with a warning. The
    file is in the data directory and readable by this user only. Agent commands use it by default. For a second server, choose a name:
    `portway join --server office`, then `portway http 3000 --server office`.
    """
    from portway.agent.join_store import agent_folder, check_server_name, save_join_string
    from portway.cli.server_proxy import server_proxy
    from portway.errors import ConfigError
    from portway.telemetry.logs import secrets_mask

    if pasted:
        raise ConfigError(
            "unexpected join string on the command line: other users of this machine can read it there, and it stays in the shell history; "
            "run `portway join` without it and paste it at the prompt. If it is a real one, revoke its token"
        )
    if server:
        check_server_name(server)
    folder = agent_folder(data)
    if folder is None:
        raise ConfigError("data: this user has no home directory; give --data DIR, or set PORTWAY_JOIN instead of saving a join string")
    found = _read_join_string(join_file)
    secrets_mask.hide(found.secret)
    if not replace:
        _check_no_other_server(folder, found, server)
    if not offline:
        _contact_server(found, folder, ca_file, server_proxy(proxy, proxy_auth_file, found, os.environ))
    path = save_join_string(folder, found, server)
    click.echo(f"Join string saved to {path}. Next: portway http 3000{f' --server {server}' if server else ''}", err=True)


def _read_join_string(join_file: Path | None) -> "JoinString":
    """Return the join string from `join_file`, the environment, a prompt or stdin."""
    from portway.agent.join_store import explicit_join_string
    from portway.cli.pasting import prompt_for_paste
    from portway.config.files import SECRET_BYTES_MAX
    from portway.protocol.join_string import parse

    found = explicit_join_string(join_file, os.environ)
    if found is not None:
        return found
    if sys.stdin.isatty():
        return parse(prompt_for_paste("Join string (not echoed)"))
    return parse(sys.stdin.buffer.read(SECRET_BYTES_MAX).decode("ascii", "replace"))


def _check_no_other_server(folder: Path, found: "JoinString", server: str) -> None:
    """Raise ConfigError if saving `found` would overwrite the join string of a different server."""
    from portway.agent.join_store import saved_join_string
    from portway.config.values import ListenAddress
    from portway.errors import ConfigError

    saved = saved_join_string(folder, server)
    if saved is None or (saved.host, saved.port) == (found.host, found.port) or (saved.pin is not None and saved.pin == found.pin):
        return
    name = f"under the name {server}" if server else "without a name"
    raise ConfigError(
        f"the join string of a different server, {ListenAddress(saved.host, saved.port)}, is already saved {name}; "
        "save this one as `portway join --server NAME` and use the same option in agent commands, or replace the other with --replace"
    )


def _contact_server(found: "JoinString", folder: Path, ca_file: Path | None, proxy: "ServerProxy | None") -> None:
    """Log in once with a join string and print the result.

    Raises:
        RefusedError, ConfigError: wrong server, or the server refuses the token; the join string must not be saved.
    """
    import asyncio

    from portway.agent.settings import AgentSettings
    from portway.agent.trial import try_login
    from portway.config.values import ListenAddress
    from portway.errors import ConfigError, RefusedError, UnavailableError
    from portway.protocol.units import format_duration
    from portway.telemetry.terminal import escape

    settings = AgentSettings(join=found, tunnels=(), data_dir=folder, plaintext_links=found.plaintext, ca_file=ca_file, proxy=proxy)
    where = ListenAddress(found.host, found.port)
    if sys.stderr.isatty():
        click.echo(f"Contacting {where} ...", err=True)
    not_saved = "Nothing was saved; --offline saves a join string without contacting its server"
    try:
        online = asyncio.run(try_login(settings))
    except UnavailableError as exc:
        click.echo(f"portway: {escape(str(exc))}. Join string saved anyway; each agent command retries the connection", err=True)
    except RefusedError as exc:
        hint = " (or the end of the join string is missing: ?pin=…)" if found.pin is None and exc.code == "wrong_certificate" else ""
        raise RefusedError(exc.code, exc.reason, f"{exc.next_step}{hint}. {not_saved}".replace("..", ".").removeprefix(". ")) from exc
    except ConfigError as exc:
        raise ConfigError(f"{exc}. {not_saved}") from exc
    else:
        away = f", {format_duration(online.rtt_s)} away," if online.rtt_s is not None else ""
        plain = "; its links are not encrypted, so agents need --plaintext-links" if found.plaintext else ""
        click.echo(f"Server {escape(online.server)} at {where}{away} accepts the token{plain}.", err=True)
