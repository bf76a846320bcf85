"""Plaintext that is read before close_notify is sent: buffered in order, with the end or the error behind it."""

import ssl

import pytest

from portway.engine.tls_read_ahead import ReadAhead
from tests.kit.certificates import Identity, client_context


def pair(identity: Identity) -> tuple[ssl.SSLObject, ssl.SSLObject, ssl.MemoryBIO]:
    """Return a server's and a client's end after their handshake, and the BIO that the client reads."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = identity.server_context().wrap_bio(to_server, to_client, server_side=True)
    client = client_context(identity).wrap_bio(to_client, to_server, server_hostname="localhost")
    for end in (client, server, client, server):
        try:
            end.do_handshake()
        except ssl.SSLWantReadError:
            pass
    return server, client, to_client


def test_what_is_there_is_buffered_and_taken_in_pieces(identity: Identity) -> None:
    server, client, _ = pair(identity)
    server.write(b"x" * 16_384)
    server.write(b"the rest")
    ahead = ReadAhead()
    assert not ahead.drain(client)
    buffer = bytearray(10_000)
    assert ahead.take(memoryview(buffer)) == 10_000
    assert ahead.take(memoryview(buffer)) == 6_392
    assert bytes(buffer[6_384:6_392]) == b"the rest"
    assert ahead.take(memoryview(buffer)) == 0


def test_close_notify_is_the_end(identity: Identity) -> None:
    server, client, _ = pair(identity)
    server.write(b"last")
    with pytest.raises(ssl.SSLWantReadError):
        server.unwrap()
    ahead = ReadAhead()
    assert ahead.drain(client)
    assert bytes(ahead.buffer) == b"last"


def test_a_break_is_raised_behind_the_data(identity: Identity) -> None:
    server, client, to_client = pair(identity)
    server.write(b"last")
    to_client.write(b"\x17\x03\x03\x00\x20" + bytes(32))
    ahead = ReadAhead()
    with pytest.raises(ssl.SSLError):
        ahead.drain(client)
    assert bytes(ahead.buffer) == b"last"
