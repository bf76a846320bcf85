"""Two Caddy processes in a chain for visitors with TLS: one terminates it, another one next to the origins forwards; TLS between them, too."""

import os
from dataclasses import dataclass

from bench.origins import Origins
from bench.ports import free_port, free_ports
from bench.processes import Processes
from bench.systems.base import Address, Published
from bench.systems.certificates import Certificate
from bench.systems.links import Links
from bench.tools import need

NAMES = ("web", "bulk", "tenant")
KEPT_MAX = 256  # idle connections to the next process: more than any load here uses; Caddy's default of 32 would dial again and again

_GLOBAL = """\
{
    admin off
    auto_https off
    log {
        level ERROR
    }
    servers {
        protocols h1
    }
}
"""
_SITE = """\
https://{site}:{port} {{
    bind 127.0.0.1
    tls {certificate} {key} {{
        protocols tls1.3
    }}
    reverse_proxy {scheme}://127.0.0.1:{next_port} {{
        header_up Host {{http.request.hostport}}
        transport http {{
            versions 1.1
            keepalive_idle_conns_per_host {kept_max}
{dial_tls}        }}
    }}
}}
"""
_DIAL_TLS = """\
            tls_trusted_ca_certs {certificate}
            tls_server_name localhost
"""


def site(name: str, port: int, next_port: int, made: Certificate, *, dial_tls: bool) -> str:
    """Return the site of one process that serves `name` ("" for any) and forwards to `next_port`."""
    return _SITE.format(
        site=name,
        port=port,
        next_port=next_port,
        scheme="https" if dial_tls else "http",
        dial_tls=_DIAL_TLS.format(certificate=made.certificate) if dial_tls else "",
        certificate=made.certificate,
        key=made.key,
        kept_max=KEPT_MAX,
    )


@dataclass(frozen=True, slots=True)
class CaddyHttps:
    """Two processes with Go's default of threads, which share their connections between visitors."""

    name: str = "caddy https"
    needs: tuple[str, ...] = ("caddy", "openssl", "nginx")

    def start(self, processes: Processes, origins: Origins, links: Links) -> Published:
        """Start both processes, the one next to the origins first."""
        made, near, edge = origins.with_tls().certificate, free_ports(3), free_port()
        at_origins = (origins.web_port, origins.bulk_port, origins.bulk_port)
        inner = [site("", port, origin, made, dial_tls=False) for port, origin in zip(near, at_origins, strict=True)]
        self._run(processes, "near", inner)
        outer = [site(f"{name}.localhost", edge, links.dial(port)[1], made, dial_tls=True) for name, port in zip(NAMES, near, strict=True)]
        self._run(processes, "edge", outer)
        web, bulk, tenant = (Address.of_name(f"{name}.localhost", edge, made.certificate) for name in NAMES)
        return Published(web=web, bulk=bulk, tenant=tenant)

    def _run(self, processes: Processes, name: str, sites: list[str]) -> None:
        path = processes.folder / f"{name}.caddyfile"
        path.write_text(_GLOBAL + "".join(sites))
        env = os.environ | {
            "HOME": str(processes.folder),
            "XDG_DATA_HOME": str(processes.folder / name),
            "XDG_CONFIG_HOME": str(processes.folder),
        }
        processes.start([need("caddy"), "run", "--config", str(path), "--adapter", "caddyfile"], f"caddy-{name}", env)
