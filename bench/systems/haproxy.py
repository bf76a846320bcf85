"""Two HAProxy processes in a chain, one a hop, as server and agent are: no tunnel, the mark to come near."""

import resource
from collections.abc import Sequence
from dataclasses import dataclass

from bench.origins import Origins
from bench.ports import free_ports
from bench.processes import Processes
from bench.systems.base import Address, Published
from bench.systems.certificates import Certificate, make_certificate
from bench.systems.links import Links
from bench.tools import need

NAMES = ("web", "bulk", "tenant")
PIPES_MAX = 200  # far more than our transfers; its default, a quarter of the connections, would take the descriptors of as many visitors
FILES_SPARED = 1000  # for the pipes, two descriptors each, listeners and logs

# As strong as HAProxy gets on this load: whole-pipe splices in mode tcp, server connections shared in mode http, and where
# TLS keeps it from splicing, buffers of 256 KiB, with which its bulk is a third faster than with its usual 16.
_COMMON = """\
global
    maxconn {connections_max}
    maxpipes {pipes_max}
    tune.pipesize 1048576
{tls}defaults
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
_TLS = """\
    tune.bufsize 262144
"""
_HOP = """\
listen {name}
    bind 127.0.0.1:{port} backlog 4096{accept_tls}
    server next 127.0.0.1:{next_port}{dial_tls}
"""
_ACCEPT_TLS = " ssl crt {pem}"
_DIAL_TLS = " ssl verify required ca-file {certificate} verifyhost localhost"
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


def _common(mode: str, connections_max: int, tls: str = "") -> str:
    head = _COMMON.format(mode=mode, connections_max=connections_max, pipes_max=PIPES_MAX, tls=tls)
    return head + (_TCP if mode == "tcp" else _HTTP)


def hop_config(
    mode: str,
    ports: Sequence[int],
    next_ports: Sequence[int],
    connections_max: int,
    *,
    accept_tls: str = "",
    dial_tls: str = "",
) -> str:
    """A process that passes `web`, `bulk` and `tenant` on, port by port."""
    hops = zip(NAMES, ports, next_ports, strict=True)
    return _common(mode, connections_max, _TLS if accept_tls or dial_tls else "") + "".join(
        _HOP.format(name=name, port=port, next_port=next_port, accept_tls=accept_tls, dial_tls=dial_tls) for name, port, next_port in hops
    )


def tls_words(made: Certificate) -> tuple[str, str]:
    """What the accepting and the dialling end say of TLS between them: verified, as our links are."""
    return _ACCEPT_TLS.format(pem=made.pem), _DIAL_TLS.format(certificate=made.certificate)


def edge_config(port: int, next_ports: Sequence[int], connections_max: int) -> str:
    """A process that chooses between the three by the Host field of every request."""
    return _common("http", connections_max) + _EDGE.format(
        port=port, web_port=next_ports[0], bulk_port=next_ports[1], tenant_port=next_ports[2]
    )


@dataclass(frozen=True, slots=True)
class HaproxyChain:
    """`tcp` or `http`, through two processes; with `tls` between them, a connection for each visitor."""

    mode: str
    tls: bool = False

    @property
    def name(self) -> str:
        """haproxy tcp, haproxy http, haproxy tls."""
        return "haproxy tls" if self.tls else f"haproxy {self.mode}"

    @property
    def needs(self) -> tuple[str, ...]:
        """openssl makes the certificate."""
        return ("haproxy", "openssl") if self.tls else ("haproxy",)

    def start(self, crew: Processes, origins: Origins, links: Links) -> Published:
        """Start both processes, the one at the origins first."""
        files_max, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        connections_max = (files_max - FILES_SPARED) // 2  # one descriptor for each side
        near, edge = free_ports(3), free_ports(3)
        accept_tls, dial_tls = tls_words(make_certificate(crew.folder)) if self.tls else ("", "")
        at_origins = (origins.web_port, origins.bulk_port, origins.bulk_port)
        self._run(crew, "near", hop_config(self.mode, near, at_origins, connections_max, accept_tls=accept_tls))
        dialled = [links.dial(port)[1] for port in near]
        if self.mode == "http":
            self._run(crew, "far", edge_config(edge[0], dialled, connections_max))
            web, bulk, tenant = (Address(edge[0], f"{name}.localhost:{edge[0]}") for name in NAMES)
        else:
            self._run(crew, "far", hop_config("tcp", edge, dialled, connections_max, dial_tls=dial_tls))
            web, bulk, tenant = map(Address.of_port, edge)
        return Published(web=web, bulk=bulk, tenant=tenant)

    def _run(self, crew: Processes, name: str, config: str) -> None:
        path = crew.folder / f"{name}.cfg"
        path.write_text(config)
        crew.start([need("haproxy"), "-db", "-f", str(path)], f"haproxy-{name}")
