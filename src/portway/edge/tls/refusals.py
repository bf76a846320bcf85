"""Ends connections before their TLS handshake, with the right alert, or a response for peers that speak HTTP."""

import socket
from contextlib import suppress

from portway.engine.reactor import Reactor
from portway.engine.socket_channel import END_ON_CLOSE, RESET_ON_CLOSE, set_close_mode
from portway.protocol.tls_alert import Alert, FirstProtocol, HelloError, alert_record

UNREAD_BYTES_MAX = 64 * 1024
"""Bytes that are read and dropped before the close. Unread ones would turn the close into a reset, which overtakes the alert."""

PLAIN_HTTP_BODY = b"This port expects HTTPS: open the same address with https:// instead of http://.\n"

PLAIN_HTTP_RESPONSE = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: %d\r\nConnection: close\r\n\r\n"
    % len(PLAIN_HTTP_BODY)
) + PLAIN_HTTP_BODY
"""What other servers send, too. There is no redirect: the request was not read, so its host and path are unknown."""


def refuse(reactor: Reactor, sock: socket.socket, error: HelloError) -> None:
    """Close `sock` for `error`: with its alert, with a response to plain HTTP, or with a reset for other protocols."""
    if error.protocol is FirstProtocol.HTTP:
        _close_with(reactor, sock, PLAIN_HTTP_RESPONSE)
    elif error.alert is not None:
        send_alert(reactor, sock, error.alert)
    else:
        set_close_mode(sock, RESET_ON_CLOSE)
        reactor.discard(sock)


def send_alert(reactor: Reactor, sock: socket.socket, alert: Alert) -> None:
    """Close `sock` with an alert, which a handshake that was not started cannot send itself."""
    _close_with(reactor, sock, alert_record(alert))


def _close_with(reactor: Reactor, sock: socket.socket, last: bytes) -> None:
    with suppress(OSError):
        sock.recv_into(bytearray(UNREAD_BYTES_MAX))
    with suppress(OSError):
        sock.send(last)  # a new connection: the kernel's buffer is empty
    set_close_mode(sock, END_ON_CLOSE)
    reactor.discard(sock)
