"""Visitors of a tunnel of their own, who want more than their part: places, memory, time."""

import contextlib
import socket
import struct
import time
from collections.abc import Generator

from tests.attacks.attack import Outcome, attack
from tests.attacks.child import Child
from tests.attacks.ground import Ground
from tests.attacks.hand_agent import HandAgent, answer_nothing
from tests.attacks.scripts.tiny import outcome, swallow
from tests.kit.origins import RawOrigin

HEAD_BYTES = 95_000
"""Just below the largest head."""


def big_head(host: str, *, whole: bool) -> bytes:
    """Return a request's head of 95 kB, or as much of it as does not end."""
    head = b"GET /big HTTP/1.1\r\nHost: %b\r\n" % host.encode()
    while len(head) < HEAD_BYTES:
        head += b"X-%d: %b\r\n" % (len(head), b"v" * 900)
    return head + (b"\r\n" if whole else b"X-Last: ")


def refused(ground: Ground, sockets: list[socket.socket], wanted: int, wait_s: float) -> tuple[int, float | None]:
    """Return how many of `wanted` connections are gone or were answered within `wait_s`, and when the first one was."""
    gone = ground.watch(sockets, wait_s)
    return wanted - len(sockets) + len(gone), gone[0][0] if gone else None


# Three thousand requests that wait are 15 MB, whatever their heads are.
@attack("big-heads", "X3", seconds=8.0, growth_max_mb=40.0)
def big_heads(ground: Ground) -> Generator[None, None, Outcome]:
    """Three thousand requests with heads of 95 kB, from sixteen addresses, to an origin that never answers."""
    agent = HandAgent(ground, "bigheads", answer_nothing)
    wanted = ground.size(3000, 60)
    yield
    sockets = ground.visitors(wanted, 16, big_head(agent.host, whole=True))
    gone, first = refused(ground, sockets, wanted, ground.size(60, 0))
    return Outcome("refused" if gone else "slowed", first, counts={"sent": len(sockets), "refused": gone})


@attack("big-half-heads", "X3", seconds=8.0)
def big_half_heads(ground: Ground) -> Generator[None, None, Outcome]:
    """The same with heads that do not end."""
    wanted = ground.size(3000, 60)
    yield
    sockets = ground.visitors(wanted, 16, big_head("innocent.localhost", whole=False))
    gone, first = refused(ground, sockets, wanted, ground.size(60, 0))
    return Outcome("refused" if gone else "slowed", first, counts={"sent": len(sockets), "refused": gone})


@attack("slow-heads", "X3", seconds=14.0)
def slow_heads(ground: Ground) -> Generator[None, None, Outcome]:
    """Two thousand heads that come a byte at a time (slowloris)."""
    yield
    sockets = ground.visitors(ground.size(2000, 50), 16, b"GET / HTTP/1.1\r\nHost: innocent.localhost\r\n")
    start, cut = time.monotonic(), list[float]()
    for number in ground.every(0.5):
        for sock in list(sockets):
            try:
                sock.sendall(b"x")
            except OSError:
                sockets.remove(sock)
                cut.append(time.monotonic() - start)
        if ground.small and number > 1:
            break
    return Outcome("slowed" if sockets else "cut", min(cut, default=None), counts={"left": len(sockets), "cut": len(cut)})


@attack("silent-visitors", "X6", seconds=8.0, descriptors=1024)
def silent_visitors(ground: Ground) -> Generator[None, None, Outcome]:
    """Two addresses take every place for visitors, and say nothing."""
    yield
    wanted = ground.size(1200, 600)
    sockets = ground.visitors(wanted, 2)
    gone, first = refused(ground, sockets, wanted, ground.size(60, 3))
    return Outcome("refused" if gone else "free", first, counts={"held": wanted - gone, "refused": gone})


@attack("slow-bodies", "X3", seconds=14.0, descriptors=1024)
def slow_bodies(ground: Ground) -> Generator[None, None, Outcome]:
    """Sixty-four addresses fill the places with bodies that come a byte every two seconds."""
    # In a process of its own: connections that wait for their origin are not slow yet, and nothing tells them from honest ones.
    with Child("tests.attacks.silent_origin", {}) as origin:
        _, host = ground.agent("http", str(origin.ready()["port"]))
        head = b"POST / HTTP/1.1\r\nHost: %b\r\nContent-Length: 100000\r\n\r\n" % host.encode()
        yield
        start, cut, answered = time.monotonic(), list[float](), 0
        sockets = ground.visitors(ground.size(1000, 500), 64, head)
        for number in ground.every(2.0):
            for sock in list(sockets):
                try:
                    sock.setblocking(False)
                    sock.send(b"x")
                    answered += sock.recv(4096).startswith(b"HTTP/1.1 408")
                    raise ConnectionError  # answered or ended
                except BlockingIOError:
                    continue
                except OSError:
                    sockets.remove(sock)
                    cut.append(time.monotonic() - start)
            if ground.small and number > 0:
                break
        return Outcome("cut" if cut else "slowed", min(cut, default=None), counts={"left": len(sockets), "cut": len(cut), "408": answered})


@attack("expect-and-wait", "X3", seconds=8.0)
def expect_and_wait(ground: Ground) -> Generator[None, None, Outcome]:
    """A thousand visitors announce bodies, ask for 100 (Continue), and send nothing."""
    with RawOrigin(swallow) as origin:
        _, host = ground.agent("http", str(origin.port))
        head = b"POST / HTTP/1.1\r\nHost: %b\r\nContent-Length: 1000\r\nExpect: 100-continue\r\n\r\n" % host.encode()
        yield
        sockets = ground.visitors(ground.size(1000, 40), 16, head)
        gone = ground.watch(sockets, ground.size(60.0, 0.5))
        return Outcome("slowed", counts={"asked": len(sockets), "answered": len(gone)})


@attack("holds-of-one-name", "X6", seconds=6.0)
def holds_of_one_name(ground: Ground) -> Generator[None, None, Outcome]:
    """Eleven hundred requests wait for an agent that is away; does a neighbour's visitor still find room to wait for his?"""
    agent = HandAgent(ground, "away", answer_nothing)
    neighbour = ground.neighbour()
    neighbour.claim("neighbour")
    yield
    agent.vanish()
    neighbour.close()
    time.sleep(0.3)
    request = b"GET / HTTP/1.1\r\nHost: %b\r\n\r\n"
    sockets = ground.visitors(ground.size(1100, 1100), 16, request % b"away.localhost")
    begun = time.monotonic()
    [probe] = ground.visitors(1, first=request % b"neighbour.localhost")
    gone = ground.watch([probe], 1.0)
    return Outcome(
        "free" if gone else "slowed",
        time.monotonic() - begun if gone else None,
        counts={"held": len(sockets)},
        note="a neighbour's visitor was not held" if gone else "",
    )


@attack("slow-readers", "X3", seconds=8.0, growth_max_mb=180.0)
def slow_readers(ground: Ground) -> Generator[None, None, Outcome]:
    """Four hundred visitors ask for downloads without end and read nothing: each may pin one window of 256 KiB at most."""

    def pour(sock: socket.socket) -> None:
        with contextlib.suppress(OSError):
            sock.recv(65536)
            sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n")
            while True:
                sock.sendall(bytes(65536))

    with RawOrigin(pour) as origin:
        _, host = ground.agent("http", str(origin.port))
        yield
        sockets = ground.visitors(ground.size(400, 20), 16, b"GET / HTTP/1.1\r\nHost: %b\r\n\r\n" % host.encode())
        time.sleep(min(ground.left_s, ground.size(60, 1)))
        return Outcome("slowed", counts={"downloads": len(sockets)})


@attack("aborted-requests", "X1")
def aborted_requests(ground: Ground) -> Generator[None, None, Outcome]:
    """Requests whose visitor resets his connection at once, while the origin works on (rapid reset)."""
    agent = HandAgent(ground, "aborted", answer_nothing)
    request = b"GET / HTTP/1.1\r\nHost: %b\r\n\r\n" % agent.host.encode()
    linger = struct.pack("ii", 1, 0)
    yield
    made = 0
    while not ground.over and made < ground.size(1_000_000, 100):
        with contextlib.suppress(OSError):
            sock = socket.create_connection(("127.0.0.1", ground.http_port), 5, (ground.source(made % 8), 0))
            sock.sendall(request)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            sock.close()
        made += 1
    return Outcome("slowed", counts={"requests": made, "at_the_origin": agent.requests})


@attack("connects-and-resets", "X1")
def connects_and_resets(ground: Ground) -> Generator[None, None, Outcome]:
    """Connections to the visitors' address that are reset at once."""
    linger = struct.pack("ii", 1, 0)
    yield
    made = 0
    while not ground.over and made < ground.size(1_000_000, 200):
        with contextlib.suppress(OSError):
            sock = socket.create_connection(("127.0.0.1", ground.http_port), 5, (ground.source(made % 8), 0))
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            sock.close()
        made += 1
    return Outcome("slowed", counts={"connections": made})


def _requests(ground: Ground, request: bytes, count: int = 16) -> Generator[None, None, Outcome]:
    """Send requests without waiting for their answers, which are read."""
    yield
    sockets = ground.visitors(count, 8)
    return outcome(ground.push(sockets, request * (60_000 // len(request)), ground.size(60, 1)), len(request), len(sockets))


@attack("pipelined", "X5")
def pipelined(ground: Ground) -> Generator[None, None, Outcome]:
    """Sixteen visitors send requests to an origin of their own without waiting for answers."""
    with RawOrigin(_answer_all) as origin:
        _, host = ground.agent("http", str(origin.port))
        result = yield from _requests(ground, b"GET / HTTP/1.1\r\nHost: %b\r\n\r\n" % host.encode())
        return result


def _answer_all(sock: socket.socket) -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    while piece := sock.recv(1 << 16):
        sock.sendall(answer * piece.count(b"\r\n\r\n"))


@attack("unknown-names", "X7")
def unknown_names(ground: Ground) -> Generator[None, None, Outcome]:
    """Sixteen visitors ask for names that nobody has, without waiting for answers."""
    return _requests(ground, b"GET / HTTP/1.1\r\nHost: nobody.localhost\r\n\r\n")


@attack("many-fields", "X7")
def many_fields(ground: Ground) -> Generator[None, None, Outcome]:
    """Sixteen visitors send heads full of the shortest fields there are."""
    head = b"GET / HTTP/1.1\r\nHost: nobody.localhost\r\n" + b"a:\r\n" * 495 + b"\r\n"
    return _requests(ground, head)


@attack("too-many-fields", "X7")
def too_many_fields(ground: Ground) -> Generator[None, None, Outcome]:
    """Connections that each bring a head of 30 kB with 7,000 fields."""
    head = b"GET / HTTP/1.1\r\nHost: nobody.localhost\r\n" + b"a:\r\n" * 7000 + b"\r\n"
    yield
    made = 0
    while not ground.over and made < ground.size(100_000, 30):
        with contextlib.suppress(OSError), ground.visitor(made % 8) as sock:
            sock.sendall(head)
            sock.recv(4096)
        made += 1
    return Outcome("refused", counts={"heads": made})


@attack("bad-requests", "X7")
def bad_requests(ground: Ground) -> Generator[None, None, Outcome]:
    """Connections that each bring one request which is refused."""
    yield
    made = 0
    while not ground.over and made < ground.size(100_000, 60):
        with contextlib.suppress(OSError), ground.visitor(made % 8) as sock:
            sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n")
            sock.recv(4096)
        made += 1
    return Outcome("refused", counts={"requests": made})


@attack("half-heads-bytewise", "X7")
def half_heads_bytewise(ground: Ground) -> Generator[None, None, Outcome]:
    """Sixteen visitors whose heads come in as many pieces as they can make."""
    yield
    cut = made = 0
    sockets: list[socket.socket] = []
    while not ground.over and made < ground.size(10_000_000, 5000):
        if len(sockets) < 16:
            sockets += ground.visitors(16 - len(sockets), 8, b"GET / HTTP/1.1\r\nHost: nobody.localhost\r\nA: ")
        for sock in list(sockets):
            try:
                sock.send(b"x")
                made += 1
            except OSError:
                sockets.remove(sock)
                cut += 1
    return Outcome("cut" if cut else "slowed", counts={"pieces": made, "cut": cut})
