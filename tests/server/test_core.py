"""Where plain HTTP is redirected to."""

import socket
from pathlib import Path

import pytest

from portway.certificates.store import CertificateStore
from portway.server.core import _public_https
from portway.server.settings import ServerSettings


class Certified(CertificateStore):
    """A store with a certificate for every name."""

    def has_trusted(self, name: str) -> bool:
        return True


@pytest.mark.parametrize(
    ("public_url", "port", "redirects"),
    [("", 0, True), ("https://example.org", 443, True), ("https://example.org:8443", 8443, True), ("http://example.org:8080", 0, False)],
)
def test_the_public_url_decides_where_plain_http_is_redirected_to(tmp_path: Path, public_url: str, port: int, redirects: bool) -> None:
    store = Certified(ServerSettings(data=tmp_path), lambda _event: None)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        https = _public_https(public_url, listener, store)
        assert https.port == (port or listener.getsockname()[1])
        assert https.has_certificate("app.example.org") is redirects
