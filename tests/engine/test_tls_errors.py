"""OpenSSL's errors in words."""

import ssl

import pytest

from portway.engine.tls_errors import describe_tls_error


def test_an_end_without_close_notify_is_named() -> None:
    before_3_11_4 = ssl.SSLError()
    before_3_11_4.reason = "UNEXPECTED_EOF_WHILE_READING"
    for exc in (ssl.SSLEOFError(), before_3_11_4):
        assert describe_tls_error(exc) == "the connection ended without close_notify"


def test_a_reason_is_described_without_its_source_line() -> None:
    incoming = ssl.MemoryBIO()
    incoming.write(b"GET / HTTP/1.1\r\n\r\n")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).wrap_bio(incoming, ssl.MemoryBIO(), server_side=True)
    with pytest.raises(ssl.SSLError) as raised:
        tls.do_handshake()
    assert describe_tls_error(raised.value) == "http request"
