"""No system at all: visitors go straight to the origins. What the machine and the load programs can do at most."""

from dataclasses import dataclass

from bench.origins import Origins
from bench.processes import Processes
from bench.systems.base import Address, Published
from bench.systems.links import Links


@dataclass(frozen=True, slots=True)
class Direct:
    """The upper bound."""

    name: str = "direct"
    needs: tuple[str, ...] = ()

    def start(self, crew: Processes, origins: Origins, links: Links) -> Published:
        """Nothing to start; visitors themselves are as far from the origins as agents elsewhere from servers."""
        bulk = Address.of_port(links.dial(origins.bulk_port)[1])
        return Published(web=Address.of_port(links.dial(origins.web_port)[1]), bulk=bulk, tenant=bulk)
