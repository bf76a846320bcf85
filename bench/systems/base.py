"""Interface of a system: a program that publishes two local services at three addresses."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from bench.origins import Origins
from bench.processes import Processes
from bench.systems.links import Links


@dataclass(frozen=True, slots=True)
class VisitorTls:
    """What visitors need for TLS: the name that they send (SNI), and the certificate that they accept."""

    server_name: str
    certificate: Path


@dataclass(frozen=True, slots=True)
class Address:
    """A public address: a port on 127.0.0.1 and the value of the Host field; with `tls`, visitors use TLS.

    With `proxy`, it is the port of a forward proxy, from which visitors request a tunnel to `authority` by this protocol
    (`bench.load.proxies`).
    """

    port: int
    authority: str
    tls: VisitorTls | None = None
    proxy: str = ""

    @classmethod
    def of_port(cls, port: int) -> "Address":
        """Return the address of a `tcp` tunnel, which ignores the Host field."""
        return cls(port, f"127.0.0.1:{port}")

    @classmethod
    def of_name(cls, name: str, port: int, certificate: Path) -> "Address":
        """Return the address of `name` behind TLS."""
        return cls(port, f"{name}:{port}", VisitorTls(name, certificate))

    @property
    def dial_words(self) -> tuple[str, ...]:
        """The words that turn on TLS in the load programs (`bench.load.tls`), or let them use a proxy."""
        if self.proxy:
            return (self.proxy, self.authority)
        return () if self.tls is None else (self.tls.server_name, str(self.tls.certificate))


@dataclass(frozen=True, slots=True)
class Published:
    """The public addresses of the two origins."""

    web: Address
    bulk: Address

    tenant: Address
    """The bulk origin published by another tenant: a second client of the same server, with its own secret where supported."""


class System(Protocol):
    """One program, or chain of programs, between visitors and origins. To add one, write a file here and add a line to `catalog.py`."""

    @property
    def name(self) -> str:
        """The name in the table and for `--systems`."""

    @property
    def needs(self) -> tuple[str, ...]:
        """Programs that must be on PATH."""

    def start(self, processes: Processes, origins: Origins, links: Links) -> Published:
        """Start the system in `processes`, with clients that dial through `links`; the caller waits until it responds, and stops it.

        Raises:
            BenchError: it cannot be started.
        """
