"""Forward proxies, one process each, with the settings closest to "no limits, no access log": what is compared is the relaying."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench.load.proxies import CONNECT, SOCKS5
from bench.origins import Origins
from bench.ports import free_port, free_ports
from bench.processes import Processes
from bench.systems.base import Address, Published
from bench.systems.haproxy import connections_possible, hop_config, run_haproxy
from bench.systems.health import wait_for_listener
from bench.systems.links import Links
from bench.tools import need

START_S = 20.0  # squid needs a second

_TINYPROXY = """\
Port {port}
Listen 127.0.0.1
Timeout 3600
MaxClients 10000
Allow 127.0.0.1
LogLevel Critical
LogFile "{folder}/tinyproxy.log"
"""
_SQUID = """\
http_port 127.0.0.1:{port}
http_access allow localhost
cache deny all
cache_mem 0
access_log none
cache_log {folder}/cache.log
pid_filename none
coredump_dir {folder}
shutdown_lifetime 0 seconds
pinger_enable off
max_filedescriptors 65536
"""
_DANTE = """\
logoutput: {folder}/dante.log
internal: 127.0.0.1 port = {port}
external: lo
clientmethod: none
socksmethod: none
{users}client pass {{ from: 127.0.0.0/8 to: 127.0.0.0/8 }}
socks pass {{ from: 127.0.0.0/8 to: 127.0.0.0/8 command: connect }}
"""
_DANTE_USERS = "user.privileged: root\nuser.unprivileged: nobody\n"


def tinyproxy_argv(folder: Path, port: int) -> list[str]:
    """Write its configuration and return its command line."""
    return [need("tinyproxy"), "-d", "-c", str(_written(folder / "tinyproxy.conf", _TINYPROXY.format(port=port, folder=folder)))]


def squid_argv(folder: Path, port: int) -> list[str]:
    """Write its configuration and return its command line."""
    folder.chmod(0o777)  # it writes as its own user
    return [need("squid"), "-N", "-f", str(_written(folder / "squid.conf", _SQUID.format(port=port, folder=folder)))]


def dante_argv(folder: Path, port: int) -> list[str]:
    """Write its configuration and return its command line."""
    users = _DANTE_USERS if os.getuid() == 0 else ""
    return [need("danted"), "-f", str(_written(folder / "dante.conf", _DANTE.format(port=port, folder=folder, users=users)))]


def microsocks_argv(_folder: Path, port: int) -> list[str]:
    """Return its command line; without `-q` it writes a line for each tunnel, as Portway does."""
    return [need("microsocks"), "-i", "127.0.0.1", "-p", str(port)]


def _written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def through(proxy_port: int, protocol: str, origins: Origins) -> Published:
    """Return the origins behind a forward proxy."""
    web, bulk = (Address(proxy_port, f"127.0.0.1:{port}", proxy=protocol) for port in (origins.web_port, origins.bulk_port))
    return Published(web=web, bulk=bulk, tenant=bulk)


@dataclass(frozen=True, slots=True)
class ForwardProxy:
    """A proxy for one protocol."""

    name: str
    protocol: str
    argv: Callable[[Path, int], list[str]]
    needs: tuple[str, ...]

    def start(self, processes: Processes, origins: Origins, links: Links) -> Published:
        """Start it and wait until it accepts."""
        port = free_port()
        child = processes.start(self.argv(processes.folder, port), self.needs[0])
        wait_for_listener(port, START_S, child)
        return through(port, self.protocol, origins)


@dataclass(frozen=True, slots=True)
class HaproxyHop:
    """HAProxy in mode tcp with fixed targets, so without a negotiation: a reference for relaying alone."""

    name: str = "haproxy tcp"
    needs: tuple[str, ...] = ("haproxy",)

    def start(self, processes: Processes, origins: Origins, links: Links) -> Published:
        """Start one process."""
        ports = free_ports(3)
        targets = (origins.web_port, origins.bulk_port, origins.bulk_port)
        run_haproxy(processes, "hop", hop_config("tcp", ports, targets, connections_possible()))
        web, bulk, tenant = map(Address.of_port, ports)
        return Published(web=web, bulk=bulk, tenant=tenant)


TINYPROXY = ForwardProxy("tinyproxy", CONNECT, tinyproxy_argv, ("tinyproxy",))
SQUID = ForwardProxy("squid", CONNECT, squid_argv, ("squid",))
MICROSOCKS = ForwardProxy("microsocks", SOCKS5, microsocks_argv, ("microsocks",))
DANTE = ForwardProxy("dante", SOCKS5, dante_argv, ("danted",))
