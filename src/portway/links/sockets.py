"""What every link's socket is set to, whichever end made it."""

import contextlib
import socket

UNSENT_BYTES_MAX = 128 * 1024
"""TCP_NOTSENT_LOWAT: a new small frame finds at most so much before it in the kernel (ADR 0004)."""
_UNSENT_MAX: int | None = getattr(socket, "TCP_NOTSENT_LOWAT", None)
"""None where the system does not have it: it is an optimisation."""


def configure_link_socket(sock: socket.socket) -> None:
    """Make `sock` a link's: no delay, keep-alive, little unsent data in the kernel."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if _UNSENT_MAX is not None:
        with contextlib.suppress(OSError):  # nor every kernel
            sock.setsockopt(socket.IPPROTO_TCP, _UNSENT_MAX, UNSENT_BYTES_MAX)
