"""Programs of Portway that `portway status` cannot ask: of other users, or with another runtime directory (Linux)."""

import os
import pwd
from collections.abc import Container, Iterator
from pathlib import Path

PROC = Path("/proc")
RUNNING = frozenset({"server", "http", "tcp", "demo"})
"""Commands that run until they are stopped."""


def programs_of_others(proc: Path = PROC) -> Iterator[tuple[int, str, str]]:
    """Yield process id, user and command of each; nothing where the system hides them."""
    for folder, owner, command in _programs(proc):
        if owner != os.getuid():
            yield int(folder.name), _user(owner), command


def programs_elsewhere(shown: Container[int], proc: Path = PROC) -> Iterator[tuple[int, str, str | None]]:
    """Yield process id, command and XDG_RUNTIME_DIR of each program of this user whose directory is not this process's.

    `shown` are process ids that are known already. The directory is None where the kernel hides it, as it does for a
    service that has been given capabilities.
    """
    own = os.environ.get("XDG_RUNTIME_DIR", "")
    for folder, owner, command in _programs(proc):
        if owner != os.getuid() or int(folder.name) in shown or command == "demo":  # a demo's own programs are listed one by one
            continue
        theirs = _runtime_dir(folder)
        if theirs != own:
            yield int(folder.name), command, theirs


def _programs(proc: Path) -> Iterator[tuple[Path, int, str]]:
    """Yield folder in `proc`, owner and command of each program that runs."""
    for folder in proc.iterdir() if proc.is_dir() else ():
        if not folder.name.isdigit():
            continue
        try:
            owner = folder.stat().st_uid
            words = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        command = _command([word.decode("utf-8", "replace") for word in words])
        if command in RUNNING:
            yield folder, owner, command


def _runtime_dir(folder: Path) -> str | None:
    try:
        variables = (folder / "environ").read_bytes().split(b"\0")
    except OSError:
        return None
    found = [os.fsdecode(one) for one in variables if one.startswith(b"XDG_RUNTIME_DIR=")]
    return found[0].partition("=")[2] if found else ""


def _command(words: list[str]) -> str:
    """Return the subcommand when a command line is Portway's: `portway server`, `python -m portway server`."""
    for at, word in enumerate(words[:3]):
        if word == "portway" or word.endswith("/portway"):
            return words[at + 1] if at + 1 < len(words) else ""
    return words[3] if words[1:3] == ["-m", "portway"] and len(words) > 3 else ""


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
