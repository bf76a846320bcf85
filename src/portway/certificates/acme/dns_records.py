"""Writes the TXT records of DNS-01: by a program of the operator, or by dynamic updates (RFC 2136)."""

import os
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Protocol

from portway.certificates.acme.failures import OrderFailed, Scope

HOOK_S_MAX = 120.0
"""How long the program may take: interfaces of DNS providers need seconds, and the program may wait until the record is visible."""

OUTPUT_BYTES_MAX = 200
"""How much of a program's output an error shows: its end."""


class DnsRecords(Protocol):
    """Changes TXT records. Both methods block, and raise OrderFailed."""

    def add(self, name: str, value: str) -> None:
        """Add a TXT record, and return when the zone's servers have it."""

    def remove(self, name: str, value: str) -> None:
        """Remove this TXT record, and no other one of the name."""


class HookRecords:
    """TXT records by a program, run as `PROGRAM add|remove NAME VALUE`."""

    def __init__(self, program: Path, *, deadline_s: float = HOOK_S_MAX) -> None:
        """The program gets this process's environment."""
        self._program = program
        self._deadline_s = deadline_s

    def add(self, name: str, value: str) -> None:
        """Run `PROGRAM add NAME VALUE`."""
        self._run(["add", name, value])

    def remove(self, name: str, value: str) -> None:
        """Run `PROGRAM remove NAME VALUE`."""
        self._run(["remove", name, value])

    def _run(self, arguments: Sequence[str]) -> None:
        what = f"{self._program} {arguments[0]} {arguments[1]}"
        # Into a file and not a pipe: a program that it left running would keep the pipe open, and much output would fill memory.
        with tempfile.TemporaryFile() as output:
            try:
                process = subprocess.Popen(  # noqa: S603 - the operator's program; no shell
                    [str(self._program), *arguments], stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
                )
            except OSError as exc:
                raise OrderFailed(Scope.NAME, f"acme_dns_hook: {self._program}: cannot be run: {exc.strerror}") from exc
            try:
                code = process.wait(self._deadline_s)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)  # with the programs that it started
                process.wait()
                raise OrderFailed(Scope.NAME, f"acme_dns_hook: not complete after {self._deadline_s:g} s ({what})") from None
            if code != 0:
                ended = f"exit code {code}" if code > 0 else f"signal {-code}"
                raise OrderFailed(Scope.NAME, f"acme_dns_hook: {ended}: {_end_of(output) or 'no output'} ({what})")


def _end_of(file: IO[bytes]) -> str:
    file.seek(max(file.seek(0, os.SEEK_END) - OUTPUT_BYTES_MAX, 0))
    return file.read(OUTPUT_BYTES_MAX).decode("utf-8", "replace").strip()
