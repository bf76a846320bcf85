"""Chooses the ports of the demo's server: the default ones, or free ones if they are in use."""

import errno
import socket
from collections.abc import Sequence
from dataclasses import dataclass

HTTP_PORTS = (8080, 8081, 8082, 8083, 8084, 8085, 8086, 8087, 8088, 8089)
"""Preferred ports; the first is the server's default."""
AGENTS_PORT = 4443
HTTPS_PORT = 8443


@dataclass(frozen=True, slots=True)
class DemoPorts:
    """Ports on 127.0.0.1; 0: the kernel chooses when the server binds it."""

    http: int
    agents: int
    https: int

    @property
    def is_default(self) -> bool:
        """Whether these are the server's default ports."""
        return (self.http, self.agents) == (HTTP_PORTS[0], AGENTS_PORT)


ANY_PORTS = DemoPorts(0, 0, 0)
"""Always available."""


def free_ports(http_ports: Sequence[int] = HTTP_PORTS, agents_port: int = AGENTS_PORT) -> DemoPorts:
    """Return the first of `http_ports`, `agents_port` and the https port, if they are free right now; otherwise 0."""
    http = next((port for port in http_ports if is_free(port)), 0)
    agents, https = (port if is_free(port) else 0 for port in (agents_port, HTTPS_PORT))
    return DemoPorts(http, agents, https)


def is_free(port: int) -> bool:
    """Return whether `port` is free on the loopback addresses, IPv4 and IPv6.

    Browsers try ::1 before 127.0.0.1 for names under localhost, so another program on ::1 would get the demo's visitors.
    """
    return _can_bind(socket.AF_INET, ("127.0.0.1", port)) and _can_bind(socket.AF_INET6, ("::1", port))


def _can_bind(family: socket.AddressFamily, address: tuple[str, int]) -> bool:
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a port in TIME_WAIT is free for a listener
            probe.bind(address)
    except OSError as exc:
        # Without IPv6 nothing can listen on ::1.
        return exc.errno in {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}
    return True
