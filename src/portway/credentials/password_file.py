"""Files of users and password hashes: one `user:hash` per line, as `portway passwd` writes them."""

from dataclasses import dataclass
from pathlib import Path

from portway.config.files import read_secret, write_secret
from portway.errors import ConfigError, RefusedError
from portway.protocol.control.messages import USERS_MAX, AccessRules
from portway.protocol.http_access import check_access

HEADER = "# Users of `portway http --basic-auth-file`. Change passwords with `portway passwd`.\n"


@dataclass(frozen=True, slots=True)
class FileKind:
    """What users of a file are for."""

    header: str
    """First line of a new file."""
    command: str
    """The command that adds a user, for errors."""
    users_max: int


TUNNEL_USERS = FileKind(HEADER, "portway passwd FILE USER", USERS_MAX)
PROXY_USERS = FileKind("# Users of `portway proxy`. Change them with `portway proxy user`.\n", "portway proxy user add USER", 500)
"""At most 500 fit into a file of the size that secrets may have."""


def read_users(path: Path, *, follow: bool = True, kind: FileKind = TUNNEL_USERS) -> list[tuple[str, str]]:
    """Return the users of a file with their hashes; `follow` as for `read_secret`.

    Raises:
        ConfigError: the file is missing, accessible to others, or invalid, with the line.
    """
    text = _read(path, follow=follow)
    if text is None:
        raise ConfigError(f"{path}: not found; `{kind.command.replace('FILE', str(path))}` creates it")
    users = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        name, colon, password_hash = line.rstrip().partition(":")
        if not colon:
            raise ConfigError(f"{path}: line {number}: invalid: expected USER:HASH; `portway passwd` writes such lines")
        users.append((name, password_hash))
        check_users(users[-1:], f"{path}: line {number}")
    check_users(users, str(path), kind)
    return users


def check_users(users: list[tuple[str, str]], where: str, kind: FileKind = TUNNEL_USERS) -> None:
    """Check names and hashes; `where` begins the error.

    Raises:
        ConfigError: a name or a hash is invalid, or a name is repeated, or there are too many.
    """
    if len(users) > kind.users_max:
        raise ConfigError(f"{where}: too many users ({len(users)}): expected at most {kind.users_max}")
    try:
        check_access(AccessRules(users=users))
    except RefusedError as exc:
        raise ConfigError(f"{where}: {exc.reason}. {exc.next_step}") from exc


def set_user(path: Path, name: str, password_hash: str, kind: FileKind = TUNNEL_USERS) -> bool:
    """Write the hash of a user, and return whether the user is new; the file is created if it is missing.

    Raises:
        ConfigError: the file or the name is invalid, or the file cannot be written.
    """
    check_users([(name, password_hash)], "USER")
    text = _read(path, follow=False)
    users = [] if text is None else read_users(path, follow=False, kind=kind)
    is_new = all(known != name for known, _ in users)
    check_users([*users, (name, password_hash)] if is_new else users, str(path), kind)
    line = f"{name}:{password_hash}\n"
    if is_new:
        text = kind.header if text is None else text
        text += "\n" * bool(text and not text.endswith("\n")) + line
    else:
        text = "".join(line if _is_of(old, name) else old for old in (text or "").splitlines(keepends=True))
    _write(path, text)
    return is_new


def remove_user(path: Path, name: str, kind: FileKind = TUNNEL_USERS) -> None:
    """Remove a user.

    Raises:
        ConfigError: there is no such user, or the file is invalid or cannot be written.
    """
    if all(known != name for known, _ in read_users(path, follow=False, kind=kind)):
        raise ConfigError(f"{path}: unknown user {name!r}")
    text = _read(path, follow=False) or ""
    _write(path, "".join(old for old in text.splitlines(keepends=True) if not _is_of(old, name)))


def _is_of(line: str, name: str) -> bool:
    return line.startswith(f"{name}:") and not line.startswith("#")


def _read(path: Path, *, follow: bool) -> str | None:
    data = read_secret(path, follow=follow)
    try:
        return None if data is None else data.decode("utf-8")
    except UnicodeDecodeError as exc:
        raise ConfigError(f"{path}: invalid: expected UTF-8 text") from exc


def _write(path: Path, text: str) -> None:
    write_secret(path, text.encode("utf-8"), replace=True, own_folder=False)
