"""`portway proxy user`: adds, removes and lists the users of a forward proxy."""

import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from portway.cli.examples import examples
from portway.cli.options import json_option
from portway.errors import ConfigError

Command = TypeVar("Command", bound=Callable[..., Any])

EXAMPLES = examples(
    ("portway proxy user add ann --users users.txt", "add ann, or change ann's password"),
    ("portway proxy user add ann --users users.txt < password.txt", "the same, with the first line of a file as the password"),
    ("portway proxy user remove ann --users users.txt", "remove ann, and end ann's tunnels"),
    ("portway proxy --listen :8080 --users users.txt", "serve these users"),
)

AT_ONCE = "running proxies apply it within a second or two"


@click.group("user", epilog=EXAMPLES)
def user() -> None:
    """Manage the users of a forward proxy, in the file of `portway proxy --users`.

    The file has one name and hash (scrypt) per line, like those of `portway passwd`, and mode 0600. Running proxies read it when it changes.
    """


def users_option(command: Command) -> Command:
    """Add `--users`."""
    return click.option(
        "--users",
        metavar="FILE",
        type=click.Path(path_type=Path, dir_okay=False),
        envvar="PORTWAY_USERS",
        show_envvar=True,
        help="File with the users.  [default: users of the file in PORTWAY_CONFIG]",
    )(command)


@user.command("add")
@click.argument("name", metavar="NAME")
@users_option
@click.pass_context
def add(ctx: click.Context, name: str, users: Path | None) -> None:
    """Add a user, or change its password, which is typed twice or read from the first line of standard input."""
    from portway.cli.passwd import ask_password
    from portway.credentials.password_file import PROXY_USERS, check_users, set_user
    from portway.protocol.password_hash import SALT_BYTES, hash_password

    path = _users_file(ctx, users)
    text = str(hash_password(ask_password(name), secrets.token_bytes(SALT_BYTES)))
    check_users([(name, text)], "NAME", PROXY_USERS)
    added = set_user(path, name, text, PROXY_USERS)
    click.echo(f"{name} {'added to' if added else 'changed in'} {path}; {AT_ONCE}", err=True)


@user.command("remove")
@click.argument("name", metavar="NAME")
@users_option
@click.pass_context
def remove(ctx: click.Context, name: str, users: Path | None) -> None:
    """Remove a user, and end its tunnels."""
    from portway.credentials.password_file import PROXY_USERS, remove_user

    path = _users_file(ctx, users)
    remove_user(path, name, PROXY_USERS)
    click.echo(f"{name} removed from {path}; {AT_ONCE}", err=True)


@user.command("list")
@users_option
@json_option("Print a JSON array of names.")
@click.pass_context
def list_users(ctx: click.Context, users: Path | None, as_json: bool) -> None:
    """List the names of all users."""
    import json

    from portway.credentials.password_file import PROXY_USERS, read_users

    names = [name for name, _ in read_users(_users_file(ctx, users), kind=PROXY_USERS)]
    click.echo(json.dumps(names) if as_json else "\n".join(names), nl=as_json or bool(names))


def _users_file(ctx: click.Context, given: Path | None) -> Path:
    """Return the file from this command's option, from `portway proxy --users`, or from the configuration file."""
    from portway.config.values import parse_path

    config, of_proxy = ctx.obj or (None, None)
    if given is not None:
        return given
    if isinstance(of_proxy, str):
        return parse_path(of_proxy)
    if config is not None:
        from portway.forward.config.loading import load_forward_settings

        found = load_forward_settings(flags={}, environ=os.environ, file=config).users
        if found is not None:
            return found
    raise ConfigError("--users: missing: expected the file of the proxy's users; give --users FILE, or set PORTWAY_USERS")
