"""`portway join`: takes a join string without showing it, and keeps it for the agent's commands."""

import os
import sys
from pathlib import Path

import click

from portway.cli.examples import examples
from portway.cli.options import agent_options

EXAMPLES = examples(
    ("portway join", "asks for the join string, without showing it"),
    ("portway join < join.txt", "reads it from a file"),
    ("ssh server portway token create laptop | portway join", "makes a token on the server and keeps it here"),
)


@click.command("join", epilog=EXAMPLES)
@click.argument("pasted", nargs=-1, metavar="")
@agent_options
def join(pasted: tuple[str, ...], join_file: Path | None, data: Path | None) -> None:
    """Keep a server's join string: asks for it, or reads it from stdin.

    It is kept in the data directory for this user alone, and every agent command finds it there.
    """
    from portway.agent.joining import given_join, keep_join
    from portway.config.files import SECRET_BYTES_MAX
    from portway.config.paths import data_dir
    from portway.errors import ConfigError
    from portway.protocol.join_string import parse

    if pasted:
        raise ConfigError(
            "a join string on the command line can be seen by everybody on this machine and stays in the shell's history; "
            "run `portway join` alone and paste it there. If it was a real one, revoke its token"
        )
    found = given_join(join_file, os.environ)
    if found is None and sys.stdin.isatty():
        found = parse(click.prompt("Join string (not shown)", hide_input=True, err=True))
    elif found is None:
        found = parse(sys.stdin.buffer.read(SECRET_BYTES_MAX).decode("ascii", "replace"))
    path = keep_join(data or data_dir(), found)
    click.echo(f"Kept in {path}. Next: portway http 3000", err=True)
