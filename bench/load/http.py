"""The few bytes of HTTP that origin and visitors of the benchmark speak, so that one load fits `tcp` and `http` tunnels."""

import re
import socket

HEAD_END = b"\r\n\r\n"
HEAD_BYTES_MAX = 16 * 1024  # ours are below 300 bytes, an edge adds a few fields
TRANSFER_BYTES = 1 << 40  # a transfer outlasts every measurement and is then cut, so the rate is read in mid-flow
STALLED_BYTES = 10_000_000_000  # what nobody reads: far more than all buffers on the way
SMALL_BODY = b"Hello, visitor.\n"
SMALL_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n%s" % (len(SMALL_BODY), SMALL_BODY)
DOWNLOAD_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: %d\r\n\r\n" % TRANSFER_BYTES

_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]{1,18})[ \t]*\r\n", re.IGNORECASE)


def small_request(authority: str) -> bytes:
    """A request for `SMALL_BODY` on a connection that stays open."""
    return b"GET / HTTP/1.1\r\nHost: %s\r\n\r\n" % authority.encode()


def download_request(authority: str) -> bytes:
    """A request for a body of `TRANSFER_BYTES`."""
    return b"GET /down HTTP/1.1\r\nHost: %s\r\n\r\n" % authority.encode()


def upload_head(authority: str) -> bytes:
    """The head of a request that carries `TRANSFER_BYTES` up."""
    return b"PUT /up HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n\r\n" % (authority.encode(), TRANSFER_BYTES)


def deaf_head(authority: str) -> bytes:
    """The head of a request that carries `STALLED_BYTES` up, to an origin that does not read them."""
    return b"PUT /deaf HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n\r\n" % (authority.encode(), STALLED_BYTES)


def answer_bytes(data: bytes) -> int | None:
    """How long the whole answer at the start of `data` is, or None while its head is incomplete.

    Raises:
        ValueError: not an answer of 200 with a Content-Length.
    """
    end = data.find(HEAD_END)
    if end < 0:
        if len(data) > HEAD_BYTES_MAX:
            raise ValueError(f"no end of the head in {len(data)} bytes")
        return None
    head = data[: end + len(HEAD_END)]
    length = _LENGTH.search(head)
    if not head.startswith(b"HTTP/1.1 200") or length is None:
        raise ValueError(f"expected 200 with a Content-Length, got {head[:80]!r}")
    return len(head) + int(length[1])


def exchange(sock: socket.socket, authority: str) -> bytes:
    """Make one small request on a blocking socket and return the answer's body.

    Raises:
        OSError: the connection broke, or the socket's timeout passed.
        ValueError: the answer is not what the origin gave.
    """
    sock.sendall(small_request(authority))
    data = b""
    while (whole := answer_bytes(data)) is None or len(data) < whole:
        piece = sock.recv(HEAD_BYTES_MAX)
        if not piece:
            raise ConnectionError(f"closed after {len(data)} bytes of the answer")
        data += piece
    return data[data.find(HEAD_END) + len(HEAD_END) : whole]
