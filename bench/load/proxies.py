"""Requests tunnels from forward proxies, on blocking sockets: CONNECT (RFC 9110 section 9.3.6) and SOCKS5 (RFC 1928)."""

import socket

from bench.load.http import HEAD_BYTES_MAX, HEAD_END

CONNECT, SOCKS5 = "connect:", "socks5:"
"""Names of the protocols on the command lines of load programs; no server name of TLS has a colon."""

_SOCKS5_REPLY_BYTES = {1: 10, 4: 22}


def request_tunnel(sock: socket.socket, protocol: str, target: str) -> None:
    """Request a tunnel to `target`, ADDRESS:PORT with an IPv4 address, and read the reply.

    Raises:
        OSError: the proxy refused, or the connection broke.
    """
    if protocol == CONNECT:
        sock.sendall(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode())
        head = b""
        while HEAD_END not in head and len(head) < HEAD_BYTES_MAX:
            head += _receive(sock, HEAD_BYTES_MAX)
        if not head.startswith((b"HTTP/1.1 200", b"HTTP/1.0 200")):
            raise ConnectionRefusedError(f"CONNECT {target}: {head[:80]!r}")
        return
    host, _, port = target.rpartition(":")
    sock.sendall(b"\5\1\0")
    if (method := _receive_exactly(sock, 2)) != b"\5\0":
        raise ConnectionRefusedError(f"SOCKS5 method: {method!r}")
    sock.sendall(b"\5\1\0\1" + socket.inet_aton(host) + int(port).to_bytes(2, "big"))
    reply = _receive_exactly(sock, 4)
    if reply[1] or reply[3] not in _SOCKS5_REPLY_BYTES:
        raise ConnectionRefusedError(f"SOCKS5 {target}: {reply!r}")
    _receive_exactly(sock, _SOCKS5_REPLY_BYTES[reply[3]] - len(reply))


def _receive(sock: socket.socket, count: int) -> bytes:
    piece = sock.recv(count)
    if not piece:
        raise ConnectionError("closed during the negotiation")
    return piece


def _receive_exactly(sock: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        data += _receive(sock, count - len(data))
    return data
