"""Chooses where the demo's server listens: the usual ports, or free ones beside somebody else's server."""

import errno
import socket
from collections.abc import Sequence
from dataclasses import dataclass

HTTP_PORTS = (8080, 8081, 8082, 8083, 8084, 8085, 8086, 8087, 8088, 8089)
"""Easy to type; the first is the one in every manual."""
AGENTS_PORT = 4443


@dataclass(frozen=True, slots=True)
class DemoPorts:
    """Two ports on 127.0.0.1; 0 lets the system choose when the server binds it."""

    http: int
    agents: int

    @property
    def usual(self) -> bool:
        """Whether nobody had to give way: these are the ports that a server takes by itself."""
        return (self.http, self.agents) == (HTTP_PORTS[0], AGENTS_PORT)


ANY_PORTS = DemoPorts(0, 0)
"""What never collides."""


def free_ports(http_ports: Sequence[int] = HTTP_PORTS, agents_port: int = AGENTS_PORT) -> DemoPorts:
    """Return the first of `http_ports`, and `agents_port`, that are free right now; 0 where none is."""
    http = next((port for port in http_ports if is_free(port)), 0)
    return DemoPorts(http, agents_port if is_free(agents_port) else 0)


def is_free(port: int) -> bool:
    """Say whether nobody listens on `port` of this machine's own addresses, IPv4 and IPv6.

    Browsers try ::1 before 127.0.0.1 for a name under localhost, so a stranger on ::1 would get our visitors.
    """
    return _can_bind(socket.AF_INET, ("127.0.0.1", port)) and _can_bind(socket.AF_INET6, ("::1", port))


def _can_bind(family: socket.AddressFamily, address: tuple[str, int]) -> bool:
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # one in TIME_WAIT is free for a listener
            probe.bind(address)
    except OSError as exc:
        # A machine without IPv6 has nobody on ::1.
        return exc.errno in {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}
    return True
