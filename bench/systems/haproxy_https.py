"""HAProxy for visitors with TLS: one process terminates it, another one next to the origins forwards; TLS between them, too."""

from dataclasses import dataclass

from bench.origins import Origins
from bench.ports import free_port, free_ports
from bench.processes import Processes
from bench.systems.base import Address, Published
from bench.systems.haproxy import NAMES, connections_possible, edge_config, hop_config, run_haproxy, tls_words
from bench.systems.links import Links


@dataclass(frozen=True, slots=True)
class HaproxyHttps:
    """Two processes in mode http, which share their connections between visitors; without `inner_tls`, those are plain."""

    name: str = "haproxy https"
    inner_tls: bool = True
    needs: tuple[str, ...] = ("haproxy", "openssl", "nginx")

    def start(self, processes: Processes, origins: Origins, links: Links) -> Published:
        """Start both processes, the one next to the origins first."""
        made = origins.with_tls().certificate
        near, edge, connections_max = free_ports(3), free_port(), connections_possible()
        accept_tls, dial_tls = tls_words(made)
        at_origins = (origins.web_port, origins.bulk_port, origins.bulk_port)
        inner = (accept_tls, dial_tls) if self.inner_tls else ("", "")
        run_haproxy(processes, "near", hop_config("http", near, at_origins, connections_max, accept_tls=inner[0], one_thread=True))
        dialled = [links.dial(port)[1] for port in near]
        run_haproxy(processes, "edge", edge_config(edge, dialled, connections_max, accept_tls=accept_tls, dial_tls=inner[1]))
        web, bulk, tenant = (Address.of_name(f"{name}.localhost", edge, made.certificate) for name in NAMES)
        return Published(web=web, bulk=bulk, tenant=tenant)
