"""Two nginx processes in a chain for visitors with TLS: one terminates it, another one next to the origins forwards; TLS between them, too."""

import resource
from dataclasses import dataclass

from bench.origins import Origins
from bench.ports import free_port, free_ports
from bench.processes import Processes
from bench.systems.base import Address, Published
from bench.systems.certificates import Certificate
from bench.systems.links import Links
from bench.tools import need

NAMES = ("web", "bulk", "tenant")
WORKERS_CONNECTIONS_MAX = 16_384
KEPT_MAX = 256  # idle connections to the next process: more than any load here uses, so that none is closed and dialled again

# Bodies pass without temporary files, through 1 MiB of buffers for each connection.
_CONFIG = """\
daemon off;
master_process off;
worker_processes 1;
worker_rlimit_nofile {files};
pid {name}.pid;
error_log {name}.log crit;
events {{ worker_connections {files}; }}
http {{
    access_log off;
    keepalive_timeout 1h;
    keepalive_requests 1000000000;
    client_max_body_size 0;
    client_body_temp_path {name}-body;
    proxy_temp_path {name}-proxy;
    fastcgi_temp_path {name}-fastcgi;
    uwsgi_temp_path {name}-uwsgi;
    scgi_temp_path {name}-scgi;
    client_body_buffer_size 256k;
    proxy_buffers 16 64k;
    proxy_busy_buffers_size 256k;
    proxy_max_temp_file_size 0;
    proxy_request_buffering off;
    proxy_http_version 1.1;
    proxy_set_header Host $http_host;
    proxy_set_header Connection "";
    proxy_ssl_verify on;
    proxy_ssl_trusted_certificate {certificate};
    proxy_ssl_name localhost;
    proxy_ssl_protocols TLSv1.3;
    ssl_certificate {certificate};
    ssl_certificate_key {key};
    ssl_protocols TLSv1.3;
{servers}}}
"""
_SERVER = """\
    upstream {name} {{
        server 127.0.0.1:{next_port};
        keepalive {kept_max};
        keepalive_requests 1000000000;
        keepalive_timeout 1h;
    }}
    server {{
        listen 127.0.0.1:{port}{options};
        server_name {names};
        location / {{ proxy_pass {scheme}://{name}; }}
    }}
"""


@dataclass(frozen=True, slots=True)
class Hop:
    """One server of a process: where it listens, for which host, and where it forwards to."""

    name: str
    port: int
    next_port: int
    accept_tls: bool
    dial_tls: bool
    host: str = "_"


def config(name: str, hops: list[Hop], made: Certificate, files_max: int) -> str:
    """Return the configuration of a process."""
    ports = [hop.port for hop in hops]  # nginx takes the options of a port only once
    servers = "".join(
        _SERVER.format(
            name=hop.name,
            next_port=hop.next_port,
            port=hop.port,
            kept_max=KEPT_MAX,
            options=(" ssl" if hop.accept_tls else "") + (" backlog=4096" if hop.port not in ports[:place] else ""),
            names=hop.host,
            scheme="https" if hop.dial_tls else "http",
        )
        for place, hop in enumerate(hops)
    )
    return _CONFIG.format(files=files_max, name=name, servers=servers, certificate=made.certificate, key=made.key)


@dataclass(frozen=True, slots=True)
class NginxHttps:
    """Two processes with one worker each, which share their connections between visitors."""

    name: str = "nginx https"
    needs: tuple[str, ...] = ("nginx", "openssl")

    def start(self, processes: Processes, origins: Origins, links: Links) -> Published:
        """Start both processes, the one next to the origins first."""
        made, near, edge = origins.with_tls().certificate, free_ports(3), free_port()
        at_origins = (origins.web_port, origins.bulk_port, origins.bulk_port)
        inner = [Hop(name, port, origin, True, False) for name, port, origin in zip(NAMES, near, at_origins, strict=True)]
        self._run(processes, "near", inner, made)
        outer = [Hop(name, edge, links.dial(port)[1], True, True, f"{name}.localhost") for name, port in zip(NAMES, near, strict=True)]
        self._run(processes, "edge", outer, made)
        web, bulk, tenant = (Address.of_name(f"{name}.localhost", edge, made.certificate) for name in NAMES)
        return Published(web=web, bulk=bulk, tenant=tenant)

    def _run(self, processes: Processes, name: str, hops: list[Hop], made: Certificate) -> None:
        files_max = min(resource.getrlimit(resource.RLIMIT_NOFILE)[0], WORKERS_CONNECTIONS_MAX)
        path = processes.folder / f"{name}.conf"
        path.write_text(config(name, hops, made, files_max))
        processes.start([need("nginx"), "-p", str(processes.folder), "-c", str(path), "-e", f"{name}.err"], f"nginx-{name}")
