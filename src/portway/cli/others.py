"""Programs of Portway that run for other users of this machine, as far as the kernel shows them (Linux)."""

import os
import pwd
from collections.abc import Iterator
from pathlib import Path

PROC = Path("/proc")
RUNNING = frozenset({"server", "http", "tcp", "demo"})
"""Commands that run until they are stopped."""


def programs_of_others(proc: Path = PROC) -> Iterator[tuple[int, str, str]]:
    """Yield process id, user and command of each; nothing where the system hides them."""
    for folder in proc.iterdir() if proc.is_dir() else ():
        if not folder.name.isdigit():
            continue
        try:
            owner = folder.stat().st_uid
            words = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        command = _command([word.decode("utf-8", "replace") for word in words])
        if owner != os.getuid() and command in RUNNING:
            yield int(folder.name), _user(owner), command


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
