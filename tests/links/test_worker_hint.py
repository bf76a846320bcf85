"""The unencrypted routing hint that brings a link to the right process of a server."""

import ssl

import pytest

from portway.links.tls import agent_tls
from portway.links.worker_hint import FIRST_BYTES_MAX, hint_complete, hint_for, is_hint, worker_from
from portway.protocol.control.messages import Attach, Hello, encode_message


def client_hello(hint: str) -> bytes:
    """Return what an agent sends first."""
    tls = agent_tls("127.0.0.1", b"p" * 32)
    tls.set_alpn(hint)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = tls.context.wrap_bio(incoming, outgoing)
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


def plain_start(hint: str) -> bytes:
    """Return the first frame of a plain link: Data with SYN on stream 2."""
    message = encode_message(Attach(ticket=b"t" * 32, proof=b"p" * 32, hint=hint))
    return bytes((0, 0, 0, 1)) + (2).to_bytes(4, "big") + len(message).to_bytes(4, "big") + message


@pytest.mark.parametrize("start", [client_hello, plain_start])
def test_a_hint_is_found_in_the_first_packet_once_that_is_complete(start: object) -> None:
    assert callable(start)
    first = start(hint_for(4711))

    assert hint_complete(first)
    assert worker_from(first) == 4711
    for size in range(len(first)):
        assert not hint_complete(first[:size]), size
    assert worker_from(start("")) == 0
    assert hint_complete(start(""))


def test_a_server_of_one_process_has_no_hint() -> None:
    assert hint_for(0) == ""
    assert not is_hint("")


@pytest.mark.parametrize("text", ["portway/1", "portway-hint/", "portway-hint/x", "portway-hint/1234567890", "x portway-hint/1", "\udc80"])
def test_an_invalid_hint_is_not_sent(text: str) -> None:
    assert not is_hint(text)


def test_a_number_that_is_too_long_names_no_worker() -> None:
    assert worker_from(b"portway-hint/12345678901") == 0


@pytest.mark.parametrize("first", [b"GET / HTTP/1.1\r\n", b"\x80", b"\0\1" + bytes(10), b"\x16" + b"x" * FIRST_BYTES_MAX])
def test_bytes_that_cannot_contain_a_hint_are_complete(first: bytes) -> None:
    assert hint_complete(first)


def test_a_login_has_no_hint() -> None:
    message = encode_message(Hello(version=1, token="t", identity=b"i" * 32, scram="n,,n=t,r=x", agent="a"))

    assert worker_from(message) == 0
