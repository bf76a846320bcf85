"""Finds Portway processes that `portway status` cannot query: of other users, or with another runtime directory (Linux)."""

import os
import pwd
from collections.abc import Container, Iterator
from pathlib import Path

PROC = Path("/proc")
RUNNING = frozenset({"server", "http", "tcp", "tls", "demo"})
"""Commands that run until stopped."""


def processes_of_other_users(proc: Path = PROC) -> Iterator[tuple[int, str, str]]:
    """Yield process id, user and command of each Portway process of another user; nothing if the system hides them."""
    for folder, owner, command in _processes(proc):
        if owner != os.getuid():
            yield int(folder.name), _user(owner), command


def processes_with_other_runtime_dir(shown: Container[int], proc: Path = PROC) -> Iterator[tuple[int, str, str | None]]:
    """Yield process id, command and XDG_RUNTIME_DIR of each process of this user that has a different XDG_RUNTIME_DIR.

    `shown` are process ids to skip. The directory is None if the kernel hides it, as it does for a service with
    capabilities.
    """
    own = os.environ.get("XDG_RUNTIME_DIR", "")
    for folder, owner, command in _processes(proc):
        if owner != os.getuid() or int(folder.name) in shown or command == "demo":  # a demo's server and agent are listed themselves
            continue
        theirs = _runtime_dir(folder)
        if theirs != own:
            yield int(folder.name), command, theirs


def _processes(proc: Path) -> Iterator[tuple[Path, int, str]]:
    """Yield the folder in `proc`, owner and command of each running Portway process."""
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
    """Return the subcommand of a Portway command line (`portway server`, `python -m portway server`), else ""."""
    for at, word in enumerate(words[:3]):
        if word == "portway" or word.endswith("/portway"):
            return words[at + 1] if at + 1 < len(words) else ""
    return words[3] if words[1:3] == ["-m", "portway"] and len(words) > 3 else ""


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
