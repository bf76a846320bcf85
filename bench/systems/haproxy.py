"""Two HAProxy processes in a chain, one a hop, as server and agent are: no tunnel, no encryption, the mark to come near."""

import resource
from collections.abc import Sequence
from dataclasses import dataclass

from bench.crew import Crew
from bench.origins import Origins
from bench.ports import free_ports
from bench.systems.base import Address, Published
from bench.systems.links import Links
from bench.tools import need

NAMES = ("web", "bulk", "tenant")
PIPES_MAX = 200  # far more than our transfers; its default, a quarter of the connections, would take the descriptors of as many visitors
FILES_SPARED = 1000  # for the pipes, two descriptors each, listeners and logs

# As strong as HAProxy gets on this load: whole-pipe splices in mode tcp, server connections shared in mode http.
_COMMON = """\
global
    maxconn {connections_max}
    maxpipes {pipes_max}
    tune.pipesize 1048576
defaults
    mode {mode}
    timeout connect 5s
    timeout client 1h
    timeout server 1h
"""
_TCP = """\
    option splice-request
    option splice-response
"""
_HTTP = """\
    http-reuse always
"""
_HOP = """\
listen {name}
    bind 127.0.0.1:{port} backlog 4096
    server next 127.0.0.1:{next_port}
"""
_EDGE = """\
frontend edge
    bind 127.0.0.1:{port} backlog 4096
    use_backend web if {{ hdr(host) -m beg web.localhost }}
    use_backend tenant if {{ hdr(host) -m beg tenant.localhost }}
    default_backend bulk
backend web
    server next 127.0.0.1:{web_port}
backend bulk
    server next 127.0.0.1:{bulk_port}
backend tenant
    server next 127.0.0.1:{tenant_port}
"""


def _common(mode: str, connections_max: int) -> str:
    return _COMMON.format(mode=mode, connections_max=connections_max, pipes_max=PIPES_MAX) + (_TCP if mode == "tcp" else _HTTP)


def hop_config(mode: str, ports: Sequence[int], next_ports: Sequence[int], connections_max: int) -> str:
    """A process that passes `web`, `bulk` and `tenant` on, port by port."""
    hops = zip(NAMES, ports, next_ports, strict=True)
    return _common(mode, connections_max) + "".join(
        _HOP.format(name=name, port=port, next_port=next_port) for name, port, next_port in hops
    )


def edge_config(port: int, next_ports: Sequence[int], connections_max: int) -> str:
    """A process that chooses between the three by the Host field of every request."""
    return _common("http", connections_max) + _EDGE.format(
        port=port, web_port=next_ports[0], bulk_port=next_ports[1], tenant_port=next_ports[2]
    )


@dataclass(frozen=True, slots=True)
class HaproxyChain:
    """`tcp` or `http`, through two processes."""

    mode: str
    needs: tuple[str, ...] = ("haproxy",)

    @property
    def name(self) -> str:
        """haproxy tcp, haproxy http."""
        return f"haproxy {self.mode}"

    def start(self, crew: Crew, origins: Origins, links: Links) -> Published:
        """Start both processes, the one at the origins first."""
        files_max, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        connections_max = (files_max - FILES_SPARED) // 2  # one descriptor for each side
        near, edge = free_ports(3), free_ports(3)
        self._run(crew, "near", hop_config(self.mode, near, (origins.web_port, origins.bulk_port, origins.bulk_port), connections_max))
        dialled = [links.dial(port)[1] for port in near]
        if self.mode == "http":
            self._run(crew, "far", edge_config(edge[0], dialled, connections_max))
            web, bulk, tenant = (Address(edge[0], f"{name}.localhost:{edge[0]}") for name in NAMES)
        else:
            self._run(crew, "far", hop_config("tcp", edge, dialled, connections_max))
            web, bulk, tenant = map(Address.of_port, edge)
        return Published(web=web, bulk=bulk, tenant=tenant)

    def _run(self, crew: Crew, name: str, config: str) -> None:
        path = crew.folder / f"{name}.cfg"
        path.write_text(config)
        crew.start([need("haproxy"), "-db", "-f", str(path)], f"haproxy-{name}")
