"""Finds the programs that the benchmark needs, and says what to install where one is missing."""

import re
import shutil
import subprocess

from bench.errors import NotInstalled

INSTALL = {
    "nginx": "apt install nginx-light",
    "wrk": "apt install wrk",
    "haproxy": "apt install haproxy",
    "openssl": "apt install openssl",
    "rathole": "cargo install rathole",
    "bore": "cargo install bore-cli",
    "frps": "see github.com/fatedier/frp",
    "frpc": "see github.com/fatedier/frp",
}
"""Program → how to get it."""

VERSION_FLAGS = {"nginx": "-v", "wrk": "-v", "haproxy": "-v", "openssl": "version"}
"""Program → the flag that prints its version, where it is not `--version`."""


def need(program: str) -> str:
    """The path of `program`.

    Raises:
        NotInstalled: it is not on PATH.
    """
    path = shutil.which(program) or shutil.which(program, path="/usr/sbin:/sbin:/usr/local/sbin")
    if path is None:
        raise NotInstalled(f"{program} not installed ({INSTALL[program]})")
    return path


def missing(programs: tuple[str, ...]) -> str | None:
    """What to install before these programs can be used, or None."""
    for program in programs:
        try:
            need(program)
        except NotInstalled as exc:
            return str(exc)
    return None


def version(program: str) -> str:
    """The version that `program` says it is, or "-" where it is not installed or does not say."""
    try:
        argv = [need(program), VERSION_FLAGS.get(program, "--version")]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=5, check=False, stdin=subprocess.DEVNULL)
    except (NotInstalled, OSError, subprocess.TimeoutExpired):
        return "-"
    said = done.stdout + done.stderr
    match = re.search(r"(?i)version:?\s+([0-9]+\.[0-9]\S*)", said) or re.search(r"\b([0-9]+\.[0-9]\S*)", said)
    return match[1] if match else "-"
