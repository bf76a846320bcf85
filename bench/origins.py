"""The two local services that every system publishes: `web` for small responses (nginx), `bulk` for transfers (ours); both also with TLS."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from bench.errors import BenchError
from bench.load.counters import Counters
from bench.load.http import SMALL_BODY
from bench.ports import free_port
from bench.processes import Processes
from bench.systems.certificates import Certificate, make_certificate
from bench.tools import missing, need

START_S = 10.0

_NGINX = """\
daemon off;
master_process off;
worker_processes 1;
worker_rlimit_nofile {files};
pid nginx.pid;
error_log nginx.err crit;
events {{ worker_connections {files}; }}
http {{
    access_log off;
    keepalive_timeout 1h;
    keepalive_requests 1000000000;
    client_body_temp_path nginx-body;
    proxy_temp_path nginx-proxy;
    fastcgi_temp_path nginx-fastcgi;
    uwsgi_temp_path nginx-uwsgi;
    scgi_temp_path nginx-scgi;
    server {{
        listen 127.0.0.1:{port} backlog=4096;{tls}
        location / {{ default_type text/plain; return 200 "{body}\\n"; }}
    }}
}}
"""
_NGINX_TLS = """
        listen 127.0.0.1:{port} ssl backlog=4096;
        ssl_certificate {certificate};
        ssl_certificate_key {key};
        ssl_protocols TLSv1.3;"""
NAMES = ("localhost", "web.localhost", "bulk.localhost", "tenant.localhost")
"""Names of the certificate."""


@dataclass(frozen=True, slots=True)
class TlsOrigins:
    """The same services behind TLS, and the certificate of everything that visitors reach by TLS."""

    web_port: int
    bulk_port: int
    certificate: Certificate


@dataclass(frozen=True, slots=True)
class Origins:
    """Ports of the local services, and the upload counters of the second one."""

    web_port: int
    """nginx; where it is missing our own origin, which is too slow to measure requests per second."""

    bulk_port: int
    """Our own: small responses and transfers, so that both can go through one tunnel."""

    uploaded: Counters
    """Received bytes of uploads."""

    tls: TlsOrigins | None = None
    """None where no visitor uses TLS."""

    def with_tls(self) -> TlsOrigins:
        """Return the services behind TLS.

        Raises:
            BenchError: they were not started.
        """
        if self.tls is None:
            raise BenchError("the origins were started without TLS")
        return self.tls


def nginx_config(port: int, files_max: int, tls: TlsOrigins | None = None) -> str:
    """Return a configuration for one small body, one process, no logs; with `tls` also on its port."""
    text = ""
    if tls is not None:
        text = _NGINX_TLS.format(port=tls.web_port, certificate=tls.certificate.certificate, key=tls.certificate.key)
    return _NGINX.format(port=port, files=files_max, body=SMALL_BODY.decode().strip(), tls=text)


def load_env() -> dict[str, str]:
    """Return an environment in which Python finds the load programs."""
    root = str(Path(__file__).resolve().parent.parent)
    return os.environ | {"PYTHONPATH": root}


def load_argv(module: str, *args: object) -> list[str]:
    """Return the command line of a load program."""
    return [sys.executable, "-m", f"bench.load.{module}", *(str(arg) for arg in args)]


def start_origins(processes: Processes, files_max: int, *, tls: bool = False) -> Origins:
    """Start both services, with `tls` also behind TLS.

    Raises:
        BenchError: one did not start.
    """
    counted = processes.folder / "uploaded"
    bulk = processes.start(load_argv("origin", counted), "origin", load_env())
    bulk_port = int(bulk.first_line(START_S))
    behind_tls = _start_tls_origin(processes, counted) if tls else None
    web_port = bulk_port
    if missing(("nginx",)) is None:
        web_port = free_port()
        config = processes.folder / "nginx.conf"
        config.write_text(nginx_config(web_port, min(files_max, 16_384), behind_tls))
        processes.start([need("nginx"), "-p", str(processes.folder), "-c", str(config), "-e", "nginx.err"], "nginx")
    return Origins(web_port=web_port, bulk_port=bulk_port, uploaded=Counters(counted), tls=behind_tls)


def _start_tls_origin(processes: Processes, counted: Path) -> TlsOrigins:
    made = make_certificate(processes.folder, NAMES)
    bulk = processes.start(load_argv("tls_origin", counted, made.certificate, made.key), "tls-origin", load_env())
    bulk_port = int(bulk.first_line(START_S))
    return TlsOrigins(web_port=free_port() if missing(("nginx",)) is None else bulk_port, bulk_port=bulk_port, certificate=made)
