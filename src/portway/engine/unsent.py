"""Asks the kernel what of a socket's bytes is still on its way."""

import socket
import sys

try:
    import fcntl
    import termios
except ImportError:  # not a Unix
    unknown = True
else:
    unknown = False


def unsent_bytes(sock: socket.socket) -> int | None:
    """Return what is not sent or not acknowledged yet (SIOCOUTQ, tcp(7)), or None where the system does not tell."""
    if unknown:
        return None
    try:
        return int.from_bytes(fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, bytes(4)), sys.byteorder)
    except OSError:  # macOS knows this for terminals only
        return None
