"""TLS 1.3 of visitors and origins. A visitor's TLS is two words on its command line, the server's name and its certificate; none: no TLS."""

import socket
import ssl

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
    """Connects visitors to one port of 127.0.0.1, with TLS if `tls` names a server and a certificate."""

    def __init__(self, port: int, *tls: str) -> None:
        self._port = port
        self._server_name, ca_file = tls or ("", "")
        self._context = visitor_context(ca_file) if ca_file else None

    def connect(self, timeout_s: float = CONNECT_S) -> socket.socket:
        """Return a connected socket after its handshake; `timeout_s` stays its timeout.

        Raises:
            OSError: not connected, or no TLS with the expected certificate.
        """
        sock = socket.create_connection(("127.0.0.1", self._port), timeout=timeout_s)
        if self._context is None:
            return sock
        try:
            return self._context.wrap_socket(sock, server_hostname=self._server_name)
        except OSError:
            sock.close()
            raise
