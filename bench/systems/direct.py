"""No system: visitors connect to the origins directly, which shows the limits of the machine and of the load programs."""

from dataclasses import dataclass

from bench.origins import Origins
from bench.processes import Processes
from bench.systems.base import Address, Published
from bench.systems.links import Links


@dataclass(frozen=True, slots=True)
class Direct:
    """The upper bound for every system."""

    name: str = "direct"
    needs: tuple[str, ...] = ()

    def start(self, processes: Processes, origins: Origins, links: Links) -> Published:
        """Start nothing; the network path, if any, is between visitors and origins."""
        bulk = Address.of_port(links.dial(origins.bulk_port)[1])
        return Published(web=Address.of_port(links.dial(origins.web_port)[1]), bulk=bulk, tenant=bulk)


@dataclass(frozen=True, slots=True)
class DirectHttps:
    """The upper bound for every system whose visitors use TLS."""

    name: str = "direct"
    needs: tuple[str, ...] = ("openssl",)

    def start(self, processes: Processes, origins: Origins, links: Links) -> Published:
        """Start nothing."""
        behind = origins.with_tls()
        file = behind.certificate.certificate
        bulk = Address.of_name("bulk.localhost", links.dial(behind.bulk_port)[1], file)
        return Published(web=Address.of_name("web.localhost", links.dial(behind.web_port)[1], file), bulk=bulk, tenant=bulk)
