"""Checks in the kernel's tables whether a local service listens: a probe connection would use up a one-shot listener."""

import ipaddress
from pathlib import Path

from portway.agent.target import Target

TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
LISTEN = "0A"
"""TCP_LISTEN of Linux' include/net/tcp_states.h, as printed in the tables."""


def is_listening(target: Target, tables: tuple[Path, ...] = TABLES) -> bool | None:
    """Return whether a process on this machine listens at `target`; None if that is unknown.

    Blocks while it reads the tables: about 10 ms with 10,000 connections. Not for the event loop.
    """
    if target.path:
        return Path(target.path).exists()
    if not _is_loopback(target.host):
        return None
    wanted = f":{target.port:04X}"
    known = False
    for table in tables:
        try:
            lines = table.read_text("ascii").splitlines()[1:]
        except OSError:
            continue
        known = True
        for line in lines:
            columns = line.split(None, 4)
            if columns[3] == LISTEN and columns[1].endswith(wanted):
                return True
    return False if known else None


def _is_loopback(host: str) -> bool:
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
