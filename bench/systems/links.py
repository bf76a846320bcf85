"""Where agents find their server: right here on loopback, or at the other end of a long line."""

import random
from dataclasses import dataclass
from typing import Protocol

from bench.origins import load_argv, load_env
from bench.processes import Processes

LOOPBACK = "127.0.0.1"
RELAY_START_S = 10.0


def own_loopback() -> str:
    """A loopback address that hardly anybody else uses, for programs whose port cannot be chosen (Linux routes all of 127/8 here)."""
    return f"127.{random.randint(64, 254)}.{random.randint(1, 254)}.{random.randint(1, 254)}"


class Links(Protocol):
    """The way from agents to a server."""

    def dial(self, port: int, host: str = LOOPBACK, *, keep_port: bool = False) -> tuple[str, int]:
        """What to dial in order to reach the server at `host`:`port`; with `keep_port` only the host may differ."""


class Near:
    """No line at all: agent and server on one loopback."""

    def dial(self, port: int, host: str = LOOPBACK, *, keep_port: bool = False) -> tuple[str, int]:
        """The server itself."""
        return host, port


@dataclass(frozen=True, slots=True)
class Line:
    """A long line of bounded rate, the same both ways."""

    rtt_s: float = 0.060
    rate_bits_per_s: float = 200e6

    @property
    def words(self) -> str:
        """For labels and notes."""
        return f"{1000 * self.rtt_s:g} ms RTT, {self.rate_bits_per_s / 1e6:g} Mbit/s"


class Far:
    """Over a line: a relay of ours, whose processes are the load's and not the system's."""

    def __init__(self, line: Line, crew: Processes) -> None:
        self._line, self._crew, self._count = line, crew, 0

    def dial(self, port: int, host: str = LOOPBACK, *, keep_port: bool = False) -> tuple[str, int]:
        """A relay before the server; every server's port that is dialled has a line of its own.

        Raises:
            BenchError: the relay did not start.
        """
        self._count += 1
        here = (own_loopback(), port) if keep_port else (LOOPBACK, 0)
        argv = load_argv("wan_link", *here, host, port, self._line.rtt_s / 2, self._line.rate_bits_per_s / 8)
        relay = self._crew.start(argv, f"line-{self._count}", load_env())
        return here[0], int(relay.first_line(RELAY_START_S))
