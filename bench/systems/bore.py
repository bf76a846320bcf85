"""bore: a server and one client per service; an unencrypted tunnel with one connection per visitor."""

from dataclasses import dataclass

from bench.origins import Origins
from bench.ports import free_ports
from bench.processes import Processes
from bench.systems.base import Address, Published
from bench.systems.health import wait_for_listener
from bench.systems.links import Links, own_loopback
from bench.tools import need

CONTROL_PORT = 7835  # fixed in bore 0.6; a separate loopback address avoids conflicts
SECRET = "bench"  # not a real secret: both ends run for minutes on loopback
START_S = 10.0


def server_argv(host: str) -> list[str]:
    """Return the server's command line: it listens for agents on `host`, for visitors on 127.0.0.1."""
    return [need("bore"), "server", "--bind-addr", host, "--bind-tunnels", "127.0.0.1", "--secret", SECRET]


def client_argv(host: str, origin_port: int, port: int) -> list[str]:
    """Return the command line of the client that publishes `origin_port` at `port` of the server at `host`."""
    return [need("bore"), "local", str(origin_port), "--local-host", "127.0.0.1", "--to", host, "--port", str(port), "--secret", SECRET]


@dataclass(frozen=True, slots=True)
class Bore:
    """One server and three clients with one secret, because bore has no tenants."""

    name: str = "bore"
    needs: tuple[str, ...] = ("bore",)

    def start(self, processes: Processes, origins: Origins, links: Links) -> Published:
        """Start the server, then the clients."""
        host = own_loopback()
        server = processes.start(server_argv(host), "bore-server")
        wait_for_listener(CONTROL_PORT, START_S, server, host)
        dialled, _ = links.dial(CONTROL_PORT, host, keep_port=True)
        ports = free_ports(3)
        for name, origin_port, port in zip(
            ("web", "bulk", "tenant"), (origins.web_port, origins.bulk_port, origins.bulk_port), ports, strict=True
        ):
            processes.start(client_argv(dialled, origin_port, port), f"bore-{name}")
        web, bulk, tenant = map(Address.of_port, ports)
        return Published(web=web, bulk=bulk, tenant=tenant)
