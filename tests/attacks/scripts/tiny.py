"""Bytes in the smallest pieces that a protocol allows: work without a load."""

import contextlib
import socket
import threading
import time
from collections.abc import Generator

from tests.attacks.attack import Outcome, attack
from tests.attacks.ground import Ground, Pushed
from tests.attacks.hand_agent import HandAgent
from tests.kit.origins import RawOrigin
from tests.kit.yamux_wire import data

UP = b"POST / HTTP/1.1\r\nHost: %b\r\nTransfer-Encoding: chunked\r\n\r\n"
DOWN = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def swallow(sock: socket.socket) -> None:
    """Be an origin that reads all and answers nothing."""
    with contextlib.suppress(OSError):
        while sock.recv(1 << 16):
            pass


def pour(sock: socket.socket, head: bytes, piece: bytes) -> None:
    """Be an origin that answers the first request with `head` and then `piece` again and again."""
    with contextlib.suppress(OSError):
        sock.recv(1 << 16)
        sock.sendall(head)
        while True:
            sock.sendall(piece)


def outcome(pushed: Pushed, unit_bytes: int, sockets: int) -> Outcome:
    """Return how a flood went: cut when all sockets were, else slowed."""
    cut = len(pushed.cut_after_s)
    return Outcome(
        "cut" if cut == sockets else "slowed",
        pushed.cut_after_s[0] if cut else None,
        counts={"units_per_s": pushed.bytes / unit_bytes / max(pushed.seconds, 0.001), "sockets": sockets, "cut": cut},
    )


def read_all(ground: Ground, sockets: list[socket.socket], unit_bytes: int, seconds: float | None = None) -> Outcome:
    """Be visitors who read whatever comes."""
    counts = dict.fromkeys(sockets, 0)

    def read(sock: socket.socket) -> None:
        sock.settimeout(0.5)
        while time.monotonic() < end:
            try:
                count = len(sock.recv(1 << 16))
            except TimeoutError:
                continue
            except OSError:
                count = 0
            if not count:
                cut.append(time.monotonic() - start)
                return
            counts[sock] += count

    start, cut = time.monotonic(), list[float]()
    end = min(ground.until, start + seconds) if seconds is not None else ground.until
    threads = [threading.Thread(target=read, args=(sock,), daemon=True) for sock in sockets]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(ground.seconds + 5)
    units_per_s = sum(counts.values()) / unit_bytes / max(0.001, time.monotonic() - start)
    all_cut = len(cut) == len(sockets)
    return Outcome("cut" if all_cut else "slowed", min(cut, default=None), counts={"units_per_s": units_per_s, "cut": len(cut)})


def _up(ground: Ground, count: int, piece: bytes, unit_bytes: int) -> Generator[None, None, Outcome]:
    with RawOrigin(swallow) as origin:
        _, host = ground.agent("http", str(origin.port))
        sockets = ground.visitors(count, first=UP % host.encode())
        yield
        return outcome(ground.push(sockets, piece, ground.size(60, 1)), unit_bytes, len(sockets))


def _down(ground: Ground, count: int, piece: bytes, unit_bytes: int) -> Generator[None, None, Outcome]:
    with RawOrigin(lambda sock: pour(sock, DOWN, piece)) as origin:
        _, host = ground.agent("http", str(origin.port))
        yield
        sockets = ground.visitors(count, first=b"GET / HTTP/1.1\r\nHost: %b\r\n\r\n" % host.encode())
        return read_all(ground, sockets, unit_bytes, ground.size(60, 1))


@attack("tiny-chunks-up-1", "S2")
def tiny_chunks_up(ground: Ground) -> Generator[None, None, Outcome]:
    """One visitor sends a body in chunks of one byte."""
    return _up(ground, 1, b"1\r\nx\r\n" * 10_000, 6)


@attack("tiny-chunks-up-16", "S2")
def tiny_chunks_up_16(ground: Ground) -> Generator[None, None, Outcome]:
    """Sixteen visitors send bodies in chunks of one byte."""
    return _up(ground, ground.size(16, 4), b"1\r\nx\r\n" * 10_000, 6)


@attack("tiny-chunks-down-1", "S2")
def tiny_chunks_down(ground: Ground) -> Generator[None, None, Outcome]:
    """An origin answers one visitor in chunks of one byte."""
    return _down(ground, 1, b"1\r\nx\r\n" * 10_000, 6)


@attack("tiny-chunks-down-16", "S2")
def tiny_chunks_down_16(ground: Ground) -> Generator[None, None, Outcome]:
    """An origin answers sixteen visitors in chunks of one byte."""
    return _down(ground, ground.size(16, 4), b"1\r\nx\r\n" * 10_000, 6)


@attack("chunk-extensions", "S2")
def chunk_extensions(ground: Ground) -> Generator[None, None, Outcome]:
    """Sixteen visitors send chunks of one byte with long extensions."""
    return _up(ground, ground.size(16, 4), (b"1;" + b"e" * 200 + b"\r\nx\r\n") * 300, 207)


@attack("chunks-of-two-sizes", "S2")
def chunks_of_two_sizes(ground: Ground) -> Generator[None, None, Outcome]:
    """The same with every second chunk large, so that the overhead of the body as a whole looks small."""
    return _up(ground, ground.size(16, 4), (b"1\r\nx\r\n" * 1000 + b"1000\r\n" + bytes(4096) + b"\r\n"), 6)


def _tiny_data(ground: Ground, count: int) -> Generator[None, None, Outcome]:
    def flood(agent: HandAgent, stream: int, head: bytes) -> None:
        agent.respond(stream, b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
        threading.Thread(target=keep_sending, args=(agent, stream), daemon=True).start()

    def keep_sending(agent: HandAgent, stream: int) -> None:
        frame = data(stream, b"x").wire
        spent = 100
        with contextlib.suppress(OSError):
            while agent.credit.get(stream, 0):
                count = min(2000, agent.credit.get(stream, 0) - spent)
                if count < 100:
                    time.sleep(0.005)
                else:
                    spent += count
                    agent.send_wire(frame * count)

    agents = [HandAgent(ground, f"tiny{number}", flood, number) for number in range(count)]
    yield
    sockets = []
    for agent in agents:
        sockets += ground.visitors(1, first=b"GET / HTTP/1.1\r\nHost: %b\r\n\r\n" % agent.host.encode())
    return read_all(ground, sockets, 1, ground.size(60, 1))


@attack("tiny-data-frames-1", "Y2")
def tiny_data_frames(ground: Ground) -> Generator[None, None, Outcome]:
    """An agent sends a visitor his answer in frames of one byte."""
    return _tiny_data(ground, 1)


@attack("tiny-data-frames-24", "Y2")
def tiny_data_frames_24(ground: Ground) -> Generator[None, None, Outcome]:
    """Twenty-four links of one tenant, each with a reading visitor, do so."""
    return _tiny_data(ground, ground.size(24, 3))


@attack("member-empty-frames", "Y2")
def member_empty_frames(ground: Ground) -> Generator[None, None, Outcome]:
    """Eight links of one tenant send empty frames to their control streams, as fast as they can."""
    links = [ground.member(number, f"e{number}") for number in range(ground.size(8, 2))]
    yield
    frames = data(2, b"").wire * 300
    return outcome(ground.push([link.sock for link in links], frames, ground.size(60, 1)), 12, len(links))


@attack("member-stray-frames", "Y2")
def member_stray_frames(ground: Ground) -> Generator[None, None, Outcome]:
    """Eight links of one tenant send frames of one byte to streams that are not there."""
    links = [ground.member(number, f"s{number}") for number in range(ground.size(8, 2))]
    yield
    frames = data(9999, b"x").wire * 300
    return outcome(ground.push([link.sock for link in links], frames, ground.size(60, 1)), 13, len(links))


@attack("member-resets", "X1")
def member_resets(ground: Ground) -> Generator[None, None, Outcome]:
    """Eight links of one tenant open streams and reset them at once, as fast as they can."""
    links = [ground.member(number, f"r{number}") for number in range(ground.size(8, 2))]
    yield
    wire = b"".join(data(stream, b"", 1).wire + data(stream, b"", 8).wire for stream in range(4, 804, 2))
    return outcome(ground.push([link.sock for link in links], wire, ground.size(60, 1)), 24, len(links))


@attack("websocket-bytes", "X4")
def websocket_bytes(ground: Ground) -> Generator[None, None, Outcome]:
    """Sixteen WebSockets on which the visitor writes single bytes."""

    def upgraded(sock: socket.socket) -> None:
        import base64
        import hashlib

        head = sock.recv(1 << 16)
        key = head.partition(b"Sec-WebSocket-Key: ")[2].partition(b"\r\n")[0]
        accept = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
        sock.sendall(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
            + accept
            + b"\r\n\r\n"
        )
        swallow(sock)

    with RawOrigin(upgraded) as origin:
        _, host = ground.agent("http", str(origin.port))
        sockets = ground.visitors(
            ground.size(16, 4),
            first=b"GET / HTTP/1.1\r\nHost: %b\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n" % host.encode(),
        )
        for sock in sockets:
            assert sock.recv(4096).startswith(b"HTTP/1.1 101")
        yield
        return outcome(ground.push(sockets, b"x", ground.size(60, 1)), 1, len(sockets))
