"""What a system is to the benchmark: something that publishes two local services at three addresses."""

from dataclasses import dataclass
from typing import Protocol

from bench.origins import Origins
from bench.processes import Processes
from bench.systems.links import Links


@dataclass(frozen=True, slots=True)
class Address:
    """Where visitors go: a port on 127.0.0.1, and what they say in the Host field."""

    port: int
    authority: str

    @classmethod
    def of_port(cls, port: int) -> "Address":
        """The address of a `tcp` tunnel, to which the Host field means nothing."""
        return cls(port, f"127.0.0.1:{port}")


@dataclass(frozen=True, slots=True)
class Published:
    """The visitors' addresses of the two origins."""

    web: Address
    bulk: Address

    tenant: Address
    """The bulk origin once more, for another tenant: another client of the same server, with a secret of its own where the system has such."""


class System(Protocol):
    """One program, or chain of programs, between visitors and origins. To add one: a file here, a line in `catalog.py`."""

    @property
    def name(self) -> str:
        """As in the table and in `--systems`."""

    @property
    def needs(self) -> tuple[str, ...]:
        """Programs that must be on PATH."""

    def start(self, crew: Processes, origins: Origins, links: Links) -> Published:
        """Start the processes in `crew`, clients dialling as `links` says; the harness waits until all addresses answer, and stops them.

        Raises:
            BenchError: it cannot start.
        """
