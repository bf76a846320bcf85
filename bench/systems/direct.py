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
