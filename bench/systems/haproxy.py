"""Two HAProxy processes in a chain, in the places of server and agent: no tunnel, a reference for the overhead of one."""

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
PIPES_MAX = 200  # far more than our transfers; its default, a quarter of the connections, would use up descriptors of visitors
FILES_SPARED = 1000  # for the pipes, two descriptors each, listeners and logs

# The fastest settings of HAProxy for this load: whole-pipe splices in mode tcp, shared server connections in mode http, and
# in mode tcp with TLS, which prevents splicing, buffers of 256 KiB: bulk is then a third faster than with the default of 16.
# For visitors with TLS one thread for each process is best: a request costs a sixth less than with two, a handshake a tenth.
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
_LARGE_BUFFERS = """\
    tune.bufsize 262144
"""
_ONE_THREAD = """\
    nbthread 1
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
    bind 127.0.0.1:{port} backlog 4096{accept_tls}
    use_backend web if {{ hdr(host) -m beg web.localhost }}
    use_backend tenant if {{ hdr(host) -m beg tenant.localhost }}
    default_backend bulk
backend web
    server next 127.0.0.1:{web_port}{dial_tls}
backend bulk
    server next 127.0.0.1:{bulk_port}{dial_tls}
backend tenant
    server next 127.0.0.1:{tenant_port}{dial_tls}
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
    one_thread: bool = False,
) -> str:
    """Return the configuration of a process that forwards `web`, `bulk` and `tenant` by port."""
    hops = zip(NAMES, ports, next_ports, strict=True)
    tuned = _ONE_THREAD if one_thread else _LARGE_BUFFERS if accept_tls or dial_tls else ""
    return _common(mode, connections_max, tuned) + "".join(
        _HOP.format(name=name, port=port, next_port=next_port, accept_tls=accept_tls, dial_tls=dial_tls) for name, port, next_port in hops
    )


def tls_words(made: Certificate) -> tuple[str, str]:
    """Return the TLS options of the accepting and the dialling end; verified, like Portway's links."""
    return _ACCEPT_TLS.format(pem=made.pem), _DIAL_TLS.format(certificate=made.certificate)


def edge_config(port: int, next_ports: Sequence[int], connections_max: int, *, accept_tls: str = "", dial_tls: str = "") -> str:
    """Return the configuration of a process that routes every request by its Host field."""
    return _common("http", connections_max, _ONE_THREAD if accept_tls else "") + _EDGE.format(
        port=port, web_port=next_ports[0], bulk_port=next_ports[1], tenant_port=next_ports[2], accept_tls=accept_tls, dial_tls=dial_tls
    )


def connections_possible() -> int:
    """Return the number of connections that one process can have, with one descriptor per side."""
    files_max, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return (files_max - FILES_SPARED) // 2


def run_haproxy(processes: Processes, name: str, config: str) -> None:
    """Start a process with this configuration."""
    path = processes.folder / f"{name}.cfg"
    path.write_text(config)
    processes.start([need("haproxy"), "-db", "-f", str(path)], f"haproxy-{name}")


@dataclass(frozen=True, slots=True)
class HaproxyChain:
    """Two processes in mode `tcp` or `http`; with `tls`, TLS between them and one connection per visitor."""

    mode: str
    tls: bool = False

    @property
    def name(self) -> str:
        """The name: `haproxy tcp`, `haproxy http` or `haproxy tls`."""
        return "haproxy tls" if self.tls else f"haproxy {self.mode}"

    @property
    def needs(self) -> tuple[str, ...]:
        """Needs openssl for the certificate."""
        return ("haproxy", "openssl") if self.tls else ("haproxy",)

    def start(self, processes: Processes, origins: Origins, links: Links) -> Published:
        """Start both processes, the one next to the origins first."""
        connections_max = connections_possible()
        near, edge = free_ports(3), free_ports(3)
        accept_tls, dial_tls = tls_words(make_certificate(processes.folder)) if self.tls else ("", "")
        at_origins = (origins.web_port, origins.bulk_port, origins.bulk_port)
        run_haproxy(processes, "near", hop_config(self.mode, near, at_origins, connections_max, accept_tls=accept_tls))
        dialled = [links.dial(port)[1] for port in near]
        if self.mode == "http":
            run_haproxy(processes, "far", edge_config(edge[0], dialled, connections_max))
            web, bulk, tenant = (Address(edge[0], f"{name}.localhost:{edge[0]}") for name in NAMES)
        else:
            run_haproxy(processes, "far", hop_config("tcp", edge, dialled, connections_max, dial_tls=dial_tls))
            web, bulk, tenant = map(Address.of_port, edge)
        return Published(web=web, bulk=bulk, tenant=tenant)
