"""Slices of a visitor's TLS channel: small for small responses, large for bulk; the peer gets records of that size."""

import pytest

from portway.engine.tls_channel import TlsChannel
from portway.engine.tls_records import READ_BULK_BYTES
from portway.engine.tls_slices import LARGE_SLICE_BYTES, SMALL_SLICE_BYTES, SMALL_SLICES_BYTES, WriteSlices
from tests.kit.certificates import Identity, client_context
from tests.kit.channels import shake_hands
from tests.kit.loops import EngineLoop
from tests.kit.sockets import tcp_pair


def test_slices_grow_once() -> None:
    slices = WriteSlices()
    slices.count(SMALL_SLICES_BYTES - 1)
    assert slices.size == SMALL_SLICE_BYTES
    slices.count(1)
    assert slices.size == LARGE_SLICE_BYTES


@pytest.mark.parametrize("size", [1, SMALL_SLICE_BYTES, SMALL_SLICE_BYTES + 1, 300_000])
def test_all_bytes_arrive_in_order(engine: EngineLoop, identity: Identity, size: int) -> None:
    near, far = tcp_pair()
    near.setblocking(False)
    far.setblocking(False)
    server = TlsChannel(engine.reactor, near, identity.server_context(), server_side=True, in_slices=True)
    client = TlsChannel(engine.reactor, far, client_context(identity), server_side=False, server_hostname="localhost")
    shake_hands(engine, server, client)
    data = bytes(range(256)) * (size // 256 + 1)
    left = memoryview(data)[:size]
    received = bytearray()
    buffer = memoryview(bytearray(65536))

    def moved() -> bool:
        nonlocal left
        if len(left) and server.room():
            left = left[server.send(left) :]
        count = client.recv_into(buffer)
        while count > 0:
            received.extend(buffer[:count])
            count = client.recv_into(buffer)
        return len(received) == size

    engine.run_until(moved, what="all bytes")
    assert received == data[:size]
    server.abort()
    client.abort()


def test_a_full_socket_takes_part_and_no_more(engine: EngineLoop, identity: Identity) -> None:
    near, far = tcp_pair(buffer_bytes=16_384)
    near.setblocking(False)
    far.setblocking(False)
    server = TlsChannel(engine.reactor, near, identity.server_context(), server_side=True, in_slices=True)
    client = TlsChannel(engine.reactor, far, client_context(identity), server_side=False, server_hostname="localhost")
    shake_hands(engine, server, client)
    sent = server.send(bytes(4_000_000))
    assert 0 < sent < 4_000_000
    assert server.room() == 0
    assert server.waiting_bytes() <= LARGE_SLICE_BYTES + 1024
    server.abort()
    client.abort()


def test_a_visitor_that_sends_much_is_read_in_large_pieces(engine: EngineLoop, identity: Identity) -> None:
    near, far = tcp_pair()
    near.setblocking(False)
    far.setblocking(False)
    server = TlsChannel(engine.reactor, near, identity.server_context(), server_side=True, in_slices=True)
    client = TlsChannel(engine.reactor, far, client_context(identity), server_side=False, server_hostname="localhost")
    shake_hands(engine, server, client)
    data = bytes(range(256)) * 4096
    left, received, counts = memoryview(data), bytearray(), [0]
    buffer = memoryview(bytearray(256 * 1024))

    def moved() -> bool:
        nonlocal left
        if len(left) and client.room():
            left = left[client.send(left) :]
        while (count := server.recv_into(buffer)) > 0:
            counts.append(count)
            received.extend(buffer[:count])
        return len(received) == len(data)

    engine.run_until(moved, what="all bytes")
    assert received == data
    assert server.feed_bytes == READ_BULK_BYTES
    assert max(counts) > READ_BULK_BYTES
    server.abort()
    client.abort()
