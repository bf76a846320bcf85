"""TLS 1.3 of visitors and origins, and how visitors connect.

Two words on a visitor's command line turn on TLS: the server's name and its certificate. Or they name a proxy's protocol and a target.
"""

import socket
import ssl

from bench.load.proxies import CONNECT, SOCKS5, request_tunnel

CONNECT_S = 15


def visitor_context(ca_file: str) -> ssl.SSLContext:
    """Return a context that accepts only a server with a certificate of `ca_file`, and offers HTTP/1.1."""
    context = ssl.create_default_context(cafile=ca_file)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols(["http/1.1"])
    return context


def origin_context(certificate: str, key: str) -> ssl.SSLContext:
    """Return a context that serves with `certificate`."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(certificate, key)
    return context


class Dialler:
    """Connects visitors to one port of 127.0.0.1, with TLS or through a proxy if two words say so."""

    def __init__(self, port: int, *words: str) -> None:
        self._port = port
        self._name, self._other = words or ("", "")
        self._through_proxy = self._name in (CONNECT, SOCKS5)
        self._context = visitor_context(self._other) if self._name and not self._through_proxy else None

    def connect(self, timeout_s: float = CONNECT_S) -> socket.socket:
        """Return a connected socket after its handshake or negotiation; `timeout_s` stays its timeout.

        Raises:
            OSError: not connected, no TLS with the expected certificate, or no tunnel.
        """
        sock = socket.create_connection(("127.0.0.1", self._port), timeout=timeout_s)
        try:
            if self._through_proxy:
                request_tunnel(sock, self._name, self._other)
            return sock if self._context is None else self._context.wrap_socket(sock, server_hostname=self._name)
        except OSError:
            sock.close()
            raise
