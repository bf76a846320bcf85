"""A stalled visitor delays no other, and costs a bounded amount of memory."""

import hashlib
import http.client
import select
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager

import pytest

from tests.e2e.stack import Stack, Tunnel
from tests.e2e.stubborn import HELLO, StubbornOrigin
from tests.kit.streams import blocks, stream_hash

pytestmark = pytest.mark.timeout(180)

MEBIBYTE = 1 << 20

STALLED = 64
"""Visitors that stall at the same time."""

CONNECTIONS, REQUESTS = 24, 25
"""What innocent visitors do meanwhile: so many connections, and so many requests on each."""

ALL = CONNECTIONS * REQUESTS

FINISH_S_MAX = 60.0
"""How long one request of theirs may take on a machine that is busy with other tests: beside stalled visitors it takes
milliseconds, behind one it would never end."""

WINDOW_BYTES = 256 * 1024
GROWTH_BYTES = 64 * MEBIBYTE
"""What yamux must let each visitor pin, and by how much all windows of an agent may grow together."""

PINNED_BYTES_MAX = (STALLED * WINDOW_BYTES + GROWTH_BYTES) * 5 // 4 + 16 * MEBIBYTE
"""116 MiB. The end next to a slow reader buffers its window, in a bytearray that grows with an eighth of slack, and
needs some memory per socket and stream. What is on its way is STREAM_BYTES each, 4 GiB together."""

FLAT_BYTES_MAX = 16 * MEBIBYTE
"""The other end buffers nothing, and neither end's use grows with time."""

STREAM_BYTES = 64 * MEBIBYTE
"""More than all the kernel's buffers on the way hold."""

FAR_BYTES = 2 * MEBIBYTE
"""Far enough for a stream's window to have grown."""

STILL_MS = 500
"""A socket that takes nothing for this time stalls."""

FILLS_MAX = 10
"""How often what looked like a stall may turn out to be a pause."""


def rss(stack: Stack, tunnel: Tunnel) -> tuple[int, int]:
    """Return what server and agent have in memory."""
    return stack.server.rss_bytes(), tunnel.program.rss_bytes()


def be_innocent(tunnel: Tunnel) -> int:
    """Be one visitor with nothing but small requests; return how many were answered."""
    connection = http.client.HTTPConnection("127.0.0.1", tunnel.port, timeout=FINISH_S_MAX)
    with closing(connection):
        for _ in range(REQUESTS):
            connection.request("GET", "/hello", headers={"Host": tunnel.host})
            assert connection.getresponse().read() == HELLO
    return REQUESTS


def innocents(tunnel: Tunnel) -> int:
    """Be all the innocent visitors, a few at a time; return how many requests were answered."""
    with ThreadPoolExecutor(4) as people:
        return sum(people.map(be_innocent, [tunnel] * CONNECTIONS))


@contextmanager
def visitors(tunnel: Tunnel, request: str) -> Iterator[list[socket.socket]]:
    """Connect visitors with small buffers that have all sent `request`."""
    with ExitStack() as stack:
        everybody = [stack.enter_context(tunnel.connect(FINISH_S_MAX, receive_bytes=16 * 1024)) for _ in range(STALLED)]
        for one in everybody:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 256 * 1024)
            one.sendall(request.encode())
        yield everybody


@contextmanager
def answer_to(sock: socket.socket) -> Iterator[http.client.HTTPResponse]:
    """Read an answer's head."""
    with closing(http.client.HTTPResponse(sock)) as answer:
        answer.begin()
        yield answer


def push(sockets: list[socket.socket], body: bytes, sent: dict[socket.socket, int]) -> None:
    """Send as much of `body` on each as it takes; `sent` counts the bytes sent."""
    by_number = {sock.fileno(): sock for sock in sockets}
    writable = select.poll()
    for number, sock in by_number.items():
        sock.setblocking(False)
        writable.register(number, select.POLLOUT)
    while ready := writable.poll(STILL_MS):
        for number, _ in ready:
            sock = by_number[number]
            sent[sock] += sock.send(memoryview(body)[sent[sock] : sent[sock] + MEBIBYTE])
            assert sent[sock] < len(body), "nobody stalls: all of it has gone"
    for sock in sockets:
        sock.settimeout(FINISH_S_MAX)


def full(stack: Stack, tunnel: Tunnel, fill: Callable[[], int]) -> tuple[tuple[int, int], tuple[int, int]]:
    """Serve innocents while everything is full; return memory before and after. `fill` waits for a stall, and counts what has gone.

    Nothing may move meanwhile: on a busy machine what looked like a stall is a process that waited for a core.
    """
    for _ in range(FILLS_MAX):
        gone = fill()
        before = rss(stack, tunnel)
        assert innocents(tunnel) == ALL
        after = rss(stack, tunnel)
        if fill() == gone:
            return before, after
    raise AssertionError(f"after {FILLS_MAX} times there was still room for more")


@pytest.fixture
def origin() -> Iterator[StubbornOrigin]:
    with StubbornOrigin() as origin:
        yield origin


@pytest.mark.parametrize("kind", ["http", "tcp"])
def test_visitors_that_stop_reading_their_downloads(fresh_stack: Stack, origin: StubbornOrigin, kind: str) -> None:
    tunnel = fresh_stack.tunnel(kind, origin.port)
    assert innocents(tunnel) == ALL
    server, agent = rss(fresh_stack, tunnel)
    request = f"GET /pour/{STREAM_BYTES}/7 HTTP/1.1\r\nHost: {tunnel.host}\r\n\r\n"
    with visitors(tunnel, request) as stalled, ExitStack() as stack:
        answers = [stack.enter_context(answer_to(sock)) for sock in stalled]
        begun = [hashlib.sha256(answer.read(FAR_BYTES)) for answer in answers]

        def fill() -> int:
            origin.wait_for_stalled(STALLED)
            return origin.poured

        (full_server, full_agent), (later_server, later_agent) = full(fresh_stack, tunnel, fill)
        assert full_server - server < PINNED_BYTES_MAX
        assert full_agent - agent < FLAT_BYTES_MAX
        assert later_server - full_server < FLAT_BYTES_MAX
        assert later_agent - agent < FLAT_BYTES_MAX
        print(f"{kind}: server {server:,} {full_server:,} {later_server:,} agent {agent:,} {full_agent:,} {later_agent:,}")
        # Those that read on get the rest.
        for answer, digest in zip(answers[:3], begun, strict=False):
            while piece := answer.read(MEBIBYTE):
                digest.update(piece)
            assert digest.hexdigest() == stream_hash(STREAM_BYTES, 7)
    fresh_stack.healthy()


@pytest.mark.parametrize("kind", ["http", "tcp"])
def test_an_origin_that_does_not_read_its_uploads(fresh_stack: Stack, origin: StubbornOrigin, kind: str) -> None:
    body = b"".join(blocks(STREAM_BYTES, 8))
    tunnel = fresh_stack.tunnel(kind, origin.port)
    assert innocents(tunnel) == ALL
    server, agent = rss(fresh_stack, tunnel)
    request = f"POST /ignore HTTP/1.1\r\nHost: {tunnel.host}\r\nContent-Length: {STREAM_BYTES}\r\n\r\n"
    with visitors(tunnel, request) as stalled:
        sent = dict.fromkeys(stalled, 0)

        def fill() -> int:
            push(stalled, body, sent)
            return sum(sent.values())

        (full_server, full_agent), (later_server, later_agent) = full(fresh_stack, tunnel, fill)
        assert full_server - server < FLAT_BYTES_MAX
        assert full_agent - agent < PINNED_BYTES_MAX
        assert later_server - server < FLAT_BYTES_MAX
        assert later_agent - full_agent < FLAT_BYTES_MAX
        print(f"{kind}: server {server:,} {full_server:,} {later_server:,} agent {agent:,} {full_agent:,} {later_agent:,}")
        # Once it reads, those that send on are answered.
        origin.release.set()
        for sock in stalled[:3]:
            sock.sendall(memoryview(body)[sent[sock] :])
            with answer_to(sock) as answer:
                assert answer.read().decode() == stream_hash(STREAM_BYTES, 8)
    fresh_stack.healthy()


def test_half_heads_and_bodies_that_stop(fresh_stack: Stack, origin: StubbornOrigin) -> None:
    body, half = next(blocks(MEBIBYTE, 9)), MEBIBYTE // 2
    tunnel = fresh_stack.tunnel("http", origin.port)
    assert innocents(tunnel) == ALL
    before = rss(fresh_stack, tunnel)
    half_head = f"GET /hello HTTP/1.1\r\nHost: {tunnel.host}\r\nX-And-"
    whole_head = f"POST /swallow HTTP/1.1\r\nHost: {tunnel.host}\r\nContent-Length: {len(body)}\r\n\r\n"
    with visitors(tunnel, half_head) as talkers, visitors(tunnel, whole_head) as senders:
        for sock in senders:
            sock.sendall(body[:half])
        origin.wait_for_swallowed(STALLED, half)
        assert innocents(tunnel) == ALL
        after = rss(fresh_stack, tunnel)
        assert after[0] - before[0] < FLAT_BYTES_MAX
        assert after[1] - before[1] < FLAT_BYTES_MAX
        for sock in senders:
            sock.sendall(body[half:])
            with answer_to(sock) as answer:
                assert answer.read().decode() == stream_hash(MEBIBYTE, 9)
        # Half a head has ten seconds to become a whole one.
        for sock in talkers:
            with answer_to(sock) as answer:
                assert answer.status == 408
    fresh_stack.healthy()
