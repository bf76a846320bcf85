"""Bounds of requests to a CA, and failures in plain words."""

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from acme import messages
from josepy.jwk import JWKEC

from portway.certificates.acme import network
from portway.certificates.acme.failures import TEXT_CHARS_MAX, OrderFailed, Scope
from portway.certificates.acme.network import Network, problem_failure, retry_after_s
from portway.certificates.acme.pem import new_key_pem
from tests.kit.certificates import Identity
from tests.kit.sockets import free_port, tcp_listener

DATE = "Mon, 30 Nov 2026 12:00:00 GMT"


@contextmanager
def ca(identity: Identity, reply: Callable[[ssl.SSLSocket], None]) -> Iterator[str]:
    """Run a CA that sends what `reply` writes after each request."""
    listener = tcp_listener()

    def serve() -> None:
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            try:
                with identity.server_context().wrap_socket(sock, server_side=True) as tls:
                    tls.recv(64 * 1024)
                    reply(tls)
            except OSError:
                pass

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"https://localhost:{listener.getsockname()[1]}/dir"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(10)


def client(identity: Identity | None) -> Network:
    return Network(JWKEC.load(new_key_pem()), None if identity is None else str(identity.cert_file))


def response(body: bytes, status: str = "200 OK", fields: str = "Content-Type: application/json") -> bytes:
    return f"HTTP/1.1 {status}\r\n{fields}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body


def fails(identity: Identity | None, url: str, match: str) -> OrderFailed:
    with pytest.raises(OrderFailed, match=match) as failed:
        client(identity).get(url)
    assert failed.value.scope is Scope.CA
    return failed.value


def test_a_response_larger_than_the_bound_is_refused(identity: Identity) -> None:
    def endless(tls: ssl.SSLSocket) -> None:
        tls.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n")
        while True:
            tls.sendall(b" " * 65536)

    with ca(identity, endless) as url:
        fails(identity, url, "more than 262144 bytes")


def test_a_response_that_trickles_is_ended(identity: Identity, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "REQUEST_S_MAX", 0.3)

    def slow(tls: ssl.SSLSocket) -> None:
        tls.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(200):
            tls.sendall(b"1\r\n \r\n")
            threading.Event().wait(0.02)

    with ca(identity, slow) as url:
        fails(identity, url, "does not reply in time")


def test_failures_to_connect_in_plain_words(identity: Identity) -> None:
    fails(identity, f"https://127.0.0.1:{free_port()}/", "cannot connect to the CA: Connection refused$")
    fails(identity, "https://ca.invalid/", "cannot connect to the CA: ")
    fails(identity, "http://127.0.0.1/", "expected https")
    with ca(identity, lambda tls: tls.sendall(response(b"{}"))) as url:
        fails(None, url, "cannot verify the CA's own certificate: .*; give the roots of a private CA with --acme-ca")
        assert client(identity).get(url).json() == {}


def test_unexpected_responses_in_plain_words(identity: Identity) -> None:
    with ca(identity, lambda tls: tls.sendall(response(b"busy", "503 Service Unavailable", "Retry-After: 120"))) as url:
        assert fails(identity, url, "status 503 and no explanation").retry_after_s == 120
    with ca(identity, lambda tls: tls.sendall(response(b"<html>"))) as url:
        fails(identity, url, "unexpected response of the CA")
    with ca(identity, lambda tls: tls.sendall(response(b"", "302 Found", "Location: https://other.example.org/"))) as url:
        fails(identity, url, "unexpected response of the CA")


@pytest.mark.parametrize(
    ("value", "expected"),
    [(None, None), ("120", 120), ("Mon, 30 Nov 2026 12:01:00 GMT", 60), ("Mon, 30 Nov 2026 11:00:00 GMT", 0), ("soon", None), ("-5", None)],
)
def test_retry_after_in_both_forms(value: str | None, expected: float | None) -> None:
    assert retry_after_s(value, DATE) == expected


@pytest.mark.parametrize(
    ("code", "scope", "text"),
    [
        ("rateLimited", Scope.LIMIT, "rate limit of the CA: why"),
        ("serverInternal", Scope.CA, "the CA refused: why"),
        ("connection", Scope.NAME, "the CA cannot connect to this name: why"),
        ("caa", Scope.NAME, "CAA records of the domain do not allow this CA: why"),
        ("rejectedIdentifier", Scope.NAME, "the CA does not issue for this name: why"),
        ("newInTheFuture", Scope.NAME, "the CA refused: why"),
    ],
)
def test_problems_in_plain_words(code: str, scope: Scope, text: str) -> None:
    failed = problem_failure(messages.Error.from_json({"type": messages.ERROR_PREFIX + code, "detail": "why"}), 5.0)

    assert (failed.scope, str(failed), failed.retry_after_s) == (scope, text, 5.0)


def test_a_text_of_the_ca_is_one_line_of_bounded_length() -> None:
    failed = problem_failure(messages.Error.from_json({"type": "about:blank", "detail": "\x1b[31mred\n" + "long " * 1000}))

    assert len(str(failed)) == TEXT_CHARS_MAX
    assert str(failed).isprintable()
    assert str(failed).startswith("the CA refused: [31mred long")
