"""Socket options of links, at both ends."""

import contextlib
import socket

UNSENT_BYTES_MAX = 128 * 1024
"""TCP_NOTSENT_LOWAT: bytes in the kernel that a new small frame waits for, at most (ADR 0004)."""
_UNSENT_MAX: int | None = getattr(socket, "TCP_NOTSENT_LOWAT", None)
"""None where not available: it is an optimisation."""


def configure_link_socket(sock: socket.socket) -> None:
    """Set the options of a link: no delay, keep-alive, little unsent data in the kernel."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if _UNSENT_MAX is not None:
        with contextlib.suppress(OSError):  # not supported by every kernel
            sock.setsockopt(socket.IPPROTO_TCP, _UNSENT_MAX, UNSENT_BYTES_MAX)
