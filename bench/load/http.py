"""The minimal HTTP of the benchmark's origin and visitors, so that one load fits `tcp` and `http` tunnels."""

import re
import socket

HEAD_END = b"\r\n\r\n"
HEAD_BYTES_MAX = 16 * 1024  # ours are below 300 bytes, an edge adds a few fields
TRANSFER_BYTES = 1 << 40  # longer than every measurement, so that the rate is measured while the transfer runs
STALLED_BYTES = 10_000_000_000  # of an upload that the origin does not read: far more than all buffers between
SMALL_BODY = b"Hello, visitor.\n"
SMALL_RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n%s" % (len(SMALL_BODY), SMALL_BODY)
DOWNLOAD_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: %d\r\n\r\n" % TRANSFER_BYTES

_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]{1,18})[ \t]*\r\n", re.IGNORECASE)


def small_request(authority: str) -> bytes:
    """Return a request for `SMALL_BODY` on a connection that stays open."""
    return b"GET / HTTP/1.1\r\nHost: %s\r\n\r\n" % authority.encode()


def download_request(authority: str) -> bytes:
    """Return a request for a body of `TRANSFER_BYTES`."""
    return b"GET /down HTTP/1.1\r\nHost: %s\r\n\r\n" % authority.encode()


def upload_head(authority: str) -> bytes:
    """Return the head of an upload of `TRANSFER_BYTES`."""
    return b"PUT /up HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n\r\n" % (authority.encode(), TRANSFER_BYTES)


def unread_upload_head(authority: str) -> bytes:
    """Return the head of an upload of `STALLED_BYTES` that the origin does not read."""
    return b"PUT /unread HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n\r\n" % (authority.encode(), STALLED_BYTES)


def response_bytes(data: bytes) -> int | None:
    """Return the length of the response at the start of `data`, None while its head is incomplete.

    Raises:
        ValueError: not a response with status 200 and Content-Length.
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
    """Make one small request on a blocking socket and return the response body.

    Raises:
        OSError: the connection broke, or the socket's timeout passed.
        ValueError: not the origin's response.
    """
    sock.sendall(small_request(authority))
    data = b""
    while (whole := response_bytes(data)) is None or len(data) < whole:
        piece = sock.recv(HEAD_BYTES_MAX)
        if not piece:
            raise ConnectionError(f"closed after {len(data)} bytes of the response")
        data += piece
    return data[data.find(HEAD_END) + len(HEAD_END) : whole]
