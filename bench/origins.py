"""The two local services that every system publishes: `web` for small responses (nginx), `bulk` for transfers (ours)."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from bench.load.counters import Counters
from bench.load.http import SMALL_BODY
from bench.ports import free_port
from bench.processes import Processes
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
        listen 127.0.0.1:{port} backlog=4096;
        location / {{ default_type text/plain; return 200 "{body}\\n"; }}
    }}
}}
"""


@dataclass(frozen=True, slots=True)
class Origins:
    """Ports of the local services, and the upload counters of the second one."""

    web_port: int
    """nginx; where it is missing our own origin, which is too slow to measure requests per second."""

    bulk_port: int
    """Our own: small responses and transfers, so that both can go through one tunnel."""

    uploaded: Counters
    """Received bytes of uploads."""


def nginx_config(port: int, files_max: int) -> str:
    """Return a configuration for one small body, one process, no logs."""
    return _NGINX.format(port=port, files=files_max, body=SMALL_BODY.decode().strip())


def load_env() -> dict[str, str]:
    """Return an environment in which Python finds the load programs."""
    root = str(Path(__file__).resolve().parent.parent)
    return os.environ | {"PYTHONPATH": root}


def load_argv(module: str, *args: object) -> list[str]:
    """Return the command line of a load program."""
    return [sys.executable, "-m", f"bench.load.{module}", *(str(arg) for arg in args)]


def start_origins(processes: Processes, files_max: int) -> Origins:
    """Start both services.

    Raises:
        BenchError: one did not start.
    """
    counted = processes.folder / "uploaded"
    bulk = processes.start(load_argv("origin", counted), "origin", load_env())
    bulk_port = int(bulk.first_line(START_S))
    web_port = bulk_port
    if missing(("nginx",)) is None:
        web_port = free_port()
        config = processes.folder / "nginx.conf"
        config.write_text(nginx_config(web_port, min(files_max, 16_384)))
        processes.start([need("nginx"), "-p", str(processes.folder), "-c", str(config), "-e", "nginx.err"], "nginx")
    return Origins(web_port=web_port, bulk_port=bulk_port, uploaded=Counters(counted))
