"""Network between agents and their server: plain loopback, or an emulated long network path."""

import random
from dataclasses import dataclass
from typing import Protocol

from bench.origins import load_argv, load_env
from bench.processes import Processes

LOOPBACK = "127.0.0.1"
RELAY_START_S = 10.0


def own_loopback() -> str:
    """Return a random loopback address, for programs with a fixed port (Linux routes all of 127/8 to loopback)."""
    return f"127.{random.randint(64, 254)}.{random.randint(1, 254)}.{random.randint(1, 254)}"


class Links(Protocol):
    """The network between agents and a server."""

    def dial(self, port: int, host: str = LOOPBACK, *, keep_port: bool = False) -> tuple[str, int]:
        """Return the address to dial for the server at `host`:`port`; with `keep_port` only the host may differ."""


class LocalLinks:
    """Plain loopback between agent and server."""

    def dial(self, port: int, host: str = LOOPBACK, *, keep_port: bool = False) -> tuple[str, int]:
        """Return the server's own address."""
        return host, port


@dataclass(frozen=True, slots=True)
class NetworkPath:
    """A network path with a round-trip time and a rate, the same in both directions."""

    rtt_s: float = 0.060
    rate_bits_per_s: float = 200e6

    @property
    def description(self) -> str:
        """Text for labels and notes."""
        return f"{1000 * self.rtt_s:g} ms RTT, {self.rate_bits_per_s / 1e6:g} Mbit/s"


class WanLinks:
    """An emulated network path; its processes do not count as the system's."""

    def __init__(self, network_path: NetworkPath, processes: Processes) -> None:
        self._network_path, self._processes, self._count = network_path, processes, 0

    def dial(self, port: int, host: str = LOOPBACK, *, keep_port: bool = False) -> tuple[str, int]:
        """Start a relay in front of the server and return its address; each dialled port has its own network path.

        Raises:
            BenchError: the relay did not start.
        """
        self._count += 1
        here = (own_loopback(), port) if keep_port else (LOOPBACK, 0)
        argv = load_argv("wan_link", *here, host, port, self._network_path.rtt_s / 2, self._network_path.rate_bits_per_s / 8)
        relay = self._processes.start(argv, f"wan-link-{self._count}", load_env())
        return here[0], int(relay.first_line(RELAY_START_S))
