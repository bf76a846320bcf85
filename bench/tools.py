"""Finds the programs that the benchmark needs; its errors name the package of a missing one."""

import re
import shutil
import subprocess

from bench.errors import NotInstalled

INSTALL = {
    "nginx": "apt install nginx-light",
    "wrk": "apt install wrk",
    "haproxy": "apt install haproxy",
    "openssl": "apt install openssl",
    "caddy": "apt install caddy",
    "go": "apt install golang-go",
    "tinyproxy": "apt install tinyproxy",
    "squid": "apt install squid",
    "microsocks": "apt install microsocks",
    "danted": "apt install dante-server",
    "rathole": "cargo install rathole",
    "bore": "cargo install bore-cli",
    "frps": "see github.com/fatedier/frp",
    "frpc": "see github.com/fatedier/frp",
}
"""How to install each program."""

VERSION_FLAGS = {"nginx": "-v", "wrk": "-v", "haproxy": "-v", "openssl": "version", "caddy": "version"}
"""The flag that prints the version, where it is not `--version`."""


def need(program: str) -> str:
    """Return the path of `program`.

    Raises:
        NotInstalled: `program` is not on PATH.
    """
    path = shutil.which(program) or shutil.which(program, path="/usr/sbin:/sbin:/usr/local/sbin")
    if path is None:
        raise NotInstalled(f"{program} not installed ({INSTALL[program]})")
    return path


def missing(programs: tuple[str, ...]) -> str | None:
    """Return what to install for the first missing program, or None."""
    for program in programs:
        try:
            need(program)
        except NotInstalled as exc:
            return str(exc)
    return None


def version(program: str) -> str:
    """Return the version that `program` prints, or "-"."""
    try:
        argv = [need(program), VERSION_FLAGS.get(program, "--version")]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=5, check=False, stdin=subprocess.DEVNULL)
    except (NotInstalled, OSError, subprocess.TimeoutExpired):
        return "-"
    output = done.stdout + done.stderr
    match = re.search(r"(?i)version:?\s+([0-9]+\.[0-9]\S*)", output) or re.search(r"\b([0-9]+\.[0-9]\S*)", output)
    return match[1] if match else "-"
