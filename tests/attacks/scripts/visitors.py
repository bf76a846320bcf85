"""Attacks of visitors of an own tunnel that try to take more than their share of capacity, memory and time."""

import contextlib
import socket
import struct
import time
from collections.abc import Generator

from tests.attacks.attack import Outcome, attack
from tests.attacks.child import Child
from tests.attacks.context import AttackContext
from tests.attacks.scripted_agent import ScriptedAgent, never_respond
from tests.attacks.scripts.tiny import outcome, read_and_discard
from tests.kit.origins import RawOrigin

HEAD_BYTES = 95_000
"""Just below the largest head."""


def big_head(host: str, *, whole: bool) -> bytes:
    """Return a request head of 95 kB; with `whole` false without its end."""
    head = b"GET /big HTTP/1.1\r\nHost: %b\r\n" % host.encode()
    while len(head) < HEAD_BYTES:
        head += b"X-%d: %b\r\n" % (len(head), b"v" * 900)
    return head + (b"\r\n" if whole else b"X-Last: ")


def refused(context: AttackContext, sockets: list[socket.socket], wanted: int, wait_s: float) -> tuple[int, float | None]:
    """Return how many of `wanted` connections were closed or got a response within `wait_s`, and the time of the first."""
    gone = context.watch(sockets, wait_s)
    return wanted - len(sockets) + len(gone), gone[0][0] if gone else None


# Three thousand waiting requests take 15 MB, whatever their heads are.
@attack("big-heads", "X3", seconds=8.0, growth_max_mb=40.0)
def big_heads(context: AttackContext) -> Generator[None, None, Outcome]:
    """Three thousand requests with heads of 95 kB, from sixteen addresses, to an origin that never responds."""
    agent = ScriptedAgent(context, "bigheads", never_respond)
    wanted = context.size(3000, 60)
    yield
    sockets = context.visitors(wanted, 16, big_head(agent.host, whole=True))
    gone, first = refused(context, sockets, wanted, context.size(60, 0))
    return Outcome("refused" if gone else "slowed", first, counts={"sent": len(sockets), "refused": gone})


@attack("big-half-heads", "X3", seconds=8.0)
def big_half_heads(context: AttackContext) -> Generator[None, None, Outcome]:
    """The same with heads that never end."""
    wanted = context.size(3000, 60)
    yield
    sockets = context.visitors(wanted, 16, big_head("innocent.localhost", whole=False))
    gone, first = refused(context, sockets, wanted, context.size(60, 0))
    return Outcome("refused" if gone else "slowed", first, counts={"sent": len(sockets), "refused": gone})


@attack("slow-heads", "X3", seconds=14.0)
def slow_heads(context: AttackContext) -> Generator[None, None, Outcome]:
    """Two thousand heads that are sent byte by byte (slowloris)."""
    yield
    sockets = context.visitors(context.size(2000, 50), 16, b"GET / HTTP/1.1\r\nHost: innocent.localhost\r\n")
    start, cut = time.monotonic(), list[float]()
    for number in context.every(0.5):
        for sock in list(sockets):
            try:
                sock.sendall(b"x")
            except OSError:
                sockets.remove(sock)
                cut.append(time.monotonic() - start)
        if context.small and number > 1:
            break
    return Outcome("slowed" if sockets else "cut", min(cut, default=None), counts={"left": len(sockets), "cut": len(cut)})


@attack("silent-visitors", "X6", seconds=8.0, descriptors=1024)
def silent_visitors(context: AttackContext) -> Generator[None, None, Outcome]:
    """Idle visitors from two addresses try to use up the visitor capacity."""
    yield
    wanted = context.size(1200, 600)
    sockets = context.visitors(wanted, 2)
    gone, first = refused(context, sockets, wanted, context.size(60, 3))
    return Outcome("refused" if gone else "free", first, counts={"held": wanted - gone, "refused": gone})


@attack("slow-bodies", "X3", seconds=14.0, descriptors=1024)
def slow_bodies(context: AttackContext) -> Generator[None, None, Outcome]:
    """Visitors from sixty-four addresses use up the capacity with bodies sent at a byte every two seconds."""
    # In its own process: connections that wait for their origin do not count as slow yet, like honest ones.
    with Child("tests.attacks.silent_origin", {}) as origin:
        _, host = context.agent("http", str(origin.ready()["port"]))
        head = b"POST / HTTP/1.1\r\nHost: %b\r\nContent-Length: 100000\r\n\r\n" % host.encode()
        yield
        start, cut, answered = time.monotonic(), list[float](), 0
        sockets = context.visitors(context.size(1000, 500), 64, head)
        for number in context.every(2.0):
            for sock in list(sockets):
                try:
                    sock.setblocking(False)
                    sock.send(b"x")
                    answered += sock.recv(4096).startswith(b"HTTP/1.1 408")
                    raise ConnectionError  # responded or closed
                except BlockingIOError:
                    continue
                except OSError:
                    sockets.remove(sock)
                    cut.append(time.monotonic() - start)
            if context.small and number > 0:
                break
        return Outcome("cut" if cut else "slowed", min(cut, default=None), counts={"left": len(sockets), "cut": len(cut), "408": answered})


@attack("expect-and-wait", "X3", seconds=8.0)
def expect_and_wait(context: AttackContext) -> Generator[None, None, Outcome]:
    """A thousand visitors announce a body with `Expect: 100-continue` and send nothing."""
    with RawOrigin(read_and_discard) as origin:
        _, host = context.agent("http", str(origin.port))
        head = b"POST / HTTP/1.1\r\nHost: %b\r\nContent-Length: 1000\r\nExpect: 100-continue\r\n\r\n" % host.encode()
        yield
        sockets = context.visitors(context.size(1000, 40), 16, head)
        gone = context.watch(sockets, context.size(60.0, 0.5))
        return Outcome("slowed", counts={"asked": len(sockets), "answered": len(gone)})


@attack("holds-of-one-name", "X6", seconds=6.0)
def holds_of_one_name(context: AttackContext) -> Generator[None, None, Outcome]:
    """Eleven hundred requests wait for an offline agent; checks that a request to a neighbour's offline agent is still held."""
    agent = ScriptedAgent(context, "away", never_respond)
    neighbour_link = context.neighbour_link()
    neighbour_link.claim("neighbour")
    yield
    agent.drop_link()
    neighbour_link.close()
    time.sleep(0.3)
    request = b"GET / HTTP/1.1\r\nHost: %b\r\n\r\n"
    sockets = context.visitors(context.size(1100, 1100), 16, request % b"away.localhost")
    begun = time.monotonic()
    [probe] = context.visitors(1, first=request % b"neighbour.localhost")
    gone = context.watch([probe], 1.0)
    return Outcome(
        "free" if gone else "slowed",
        time.monotonic() - begun if gone else None,
        counts={"held": len(sockets)},
        note="a neighbour's visitor was not held" if gone else "",
    )


@attack("slow-readers", "X3", seconds=8.0, growth_max_mb=180.0)
def slow_readers(context: AttackContext) -> Generator[None, None, Outcome]:
    """Four hundred visitors request endless downloads and read nothing; each may buffer at most one window of 256 KiB."""

    def send_repeatedly(sock: socket.socket) -> None:
        with contextlib.suppress(OSError):
            sock.recv(65536)
            sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n")
            while True:
                sock.sendall(bytes(65536))

    with RawOrigin(send_repeatedly) as origin:
        _, host = context.agent("http", str(origin.port))
        yield
        sockets = context.visitors(context.size(400, 20), 16, b"GET / HTTP/1.1\r\nHost: %b\r\n\r\n" % host.encode())
        time.sleep(min(context.left_s, context.size(60, 1)))
        return Outcome("slowed", counts={"downloads": len(sockets)})


@attack("aborted-requests", "X1")
def aborted_requests(context: AttackContext) -> Generator[None, None, Outcome]:
    """Requests whose visitor resets its connection at once, while the origin still works (rapid reset)."""
    agent = ScriptedAgent(context, "aborted", never_respond)
    request = b"GET / HTTP/1.1\r\nHost: %b\r\n\r\n" % agent.host.encode()
    linger = struct.pack("ii", 1, 0)
    yield
    made = 0
    while not context.over and made < context.size(1_000_000, 100):
        with contextlib.suppress(OSError):
            sock = socket.create_connection(("127.0.0.1", context.http_port), 5, (context.source(made % 8), 0))
            sock.sendall(request)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            sock.close()
        made += 1
    return Outcome("slowed", counts={"requests": made, "at_the_origin": agent.requests})


@attack("connects-and-resets", "X1")
def connects_and_resets(context: AttackContext) -> Generator[None, None, Outcome]:
    """Connections to the HTTP port that are reset at once."""
    linger = struct.pack("ii", 1, 0)
    yield
    made = 0
    while not context.over and made < context.size(1_000_000, 200):
        with contextlib.suppress(OSError):
            sock = socket.create_connection(("127.0.0.1", context.http_port), 5, (context.source(made % 8), 0))
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            sock.close()
        made += 1
    return Outcome("slowed", counts={"connections": made})


def _requests(context: AttackContext, request: bytes, count: int = 16) -> Generator[None, None, Outcome]:
    """Pipeline requests and read their responses."""
    yield
    sockets = context.visitors(count, 8)
    return outcome(context.push(sockets, request * (60_000 // len(request)), context.size(60, 1)), len(request), len(sockets))


@attack("pipelined", "X5")
def pipelined(context: AttackContext) -> Generator[None, None, Outcome]:
    """Sixteen visitors pipeline requests to their own origin."""
    with RawOrigin(_answer_all) as origin:
        _, host = context.agent("http", str(origin.port))
        result = yield from _requests(context, b"GET / HTTP/1.1\r\nHost: %b\r\n\r\n" % host.encode())
        return result


def _answer_all(sock: socket.socket) -> None:
    response = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    while piece := sock.recv(1 << 16):
        sock.sendall(response * piece.count(b"\r\n\r\n"))


@attack("unknown-names", "X7")
def unknown_names(context: AttackContext) -> Generator[None, None, Outcome]:
    """Sixteen visitors pipeline requests for unknown names."""
    return _requests(context, b"GET / HTTP/1.1\r\nHost: nobody.localhost\r\n\r\n")


@attack("many-fields", "X7")
def many_fields(context: AttackContext) -> Generator[None, None, Outcome]:
    """Sixteen visitors send heads full of the shortest possible fields."""
    head = b"GET / HTTP/1.1\r\nHost: nobody.localhost\r\n" + b"a:\r\n" * 495 + b"\r\n"
    return _requests(context, head)


@attack("too-many-fields", "X7")
def too_many_fields(context: AttackContext) -> Generator[None, None, Outcome]:
    """Connections that each send a head of 30 kB with 7,000 fields."""
    head = b"GET / HTTP/1.1\r\nHost: nobody.localhost\r\n" + b"a:\r\n" * 7000 + b"\r\n"
    yield
    made = 0
    while not context.over and made < context.size(100_000, 30):
        with contextlib.suppress(OSError), context.visitor(made % 8) as sock:
            sock.sendall(head)
            sock.recv(4096)
        made += 1
    return Outcome("refused", counts={"heads": made})


@attack("bad-requests", "X7")
def bad_requests(context: AttackContext) -> Generator[None, None, Outcome]:
    """Connections that each send one invalid request."""
    yield
    made = 0
    while not context.over and made < context.size(100_000, 60):
        with contextlib.suppress(OSError), context.visitor(made % 8) as sock:
            sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n")
            sock.recv(4096)
        made += 1
    return Outcome("refused", counts={"requests": made})


@attack("half-heads-bytewise", "X7")
def half_heads_bytewise(context: AttackContext) -> Generator[None, None, Outcome]:
    """Sixteen visitors that send endless heads byte by byte."""
    yield
    cut = made = 0
    sockets: list[socket.socket] = []
    while not context.over and made < context.size(10_000_000, 5000):
        if len(sockets) < 16:
            sockets += context.visitors(16 - len(sockets), 8, b"GET / HTTP/1.1\r\nHost: nobody.localhost\r\nA: ")
        for sock in list(sockets):
            try:
                sock.send(b"x")
                made += 1
            except OSError:
                sockets.remove(sock)
                cut += 1
    return Outcome("cut" if cut else "slowed", counts={"pieces": made, "cut": cut})
