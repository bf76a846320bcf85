"""`portway passwd`: set and remove passwords of visitors, for `portway http --basic-auth-file`."""

import secrets
import sys
import unicodedata
from pathlib import Path

import click

from portway.cli.examples import examples
from portway.errors import ConfigError

EXAMPLES = examples(
    ("portway passwd users.txt ann", "add ann, or change ann's password"),
    ("portway passwd users.txt ann < password.txt", "the same, with the first line of a file as the password"),
    ("portway passwd users.txt ann --delete", "remove ann"),
    ("portway http 3000 --basic-auth-file users.txt", "let only these users in"),
)


@click.command("passwd", epilog=EXAMPLES)
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False))
@click.argument("user", metavar="USER")
@click.option("--delete", is_flag=True, help="Remove USER from FILE.")
def passwd(file: Path, user: str, delete: bool) -> None:
    """Set the password of USER in FILE, which is created if it is missing.

    The password is typed twice, or read from the first line of standard input if that is not a terminal. FILE gets a hash of it (scrypt), and mode 0600.
    Agents read FILE when they start.
    """
    from portway.credentials.password_file import check_users, remove_user, set_user
    from portway.protocol.password_hash import SALT_BYTES, hash_password

    if delete:
        remove_user(file, user)
        click.echo(f"{user} removed from {file}; start the agent again", err=True)
        return
    password = ask_password(user)
    text = str(hash_password(password, secrets.token_bytes(SALT_BYTES)))
    check_users([(user, text)], "USER")
    added = set_user(file, user, text)
    click.echo(f"{user} {'added to' if added else 'changed in'} {file}; start the agent again", err=True)


def ask_password(user: str) -> bytes:
    """Return the password in UTF-8, composed as browsers send it (RFC 7617 section 2.1)."""
    from portway.protocol.password_hash import PASSWORD_BYTES_MAX

    if sys.stdin.isatty():
        text = str(click.prompt(f"Password of {user}", hide_input=True, confirmation_prompt="The same again", err=True))
    else:
        text = sys.stdin.readline().rstrip("\r\n")
    password = unicodedata.normalize("NFC", text).encode("utf-8")
    if not 0 < len(password) <= PASSWORD_BYTES_MAX:
        raise ConfigError(f"invalid password of {len(password)} bytes: expected 1 to {PASSWORD_BYTES_MAX}")
    return password
