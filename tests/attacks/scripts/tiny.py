"""Attacks with the smallest units that a protocol allows: much work for few bytes."""

import contextlib
import socket
import threading
import time
from collections.abc import Generator

from tests.attacks.attack import Outcome, attack
from tests.attacks.context import AttackContext, Pushed
from tests.attacks.scripted_agent import ScriptedAgent
from tests.kit.origins import RawOrigin
from tests.kit.yamux_wire import data

UP = b"POST / HTTP/1.1\r\nHost: %b\r\nTransfer-Encoding: chunked\r\n\r\n"
DOWN = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def read_and_discard(sock: socket.socket) -> None:
    """Read everything and never respond."""
    with contextlib.suppress(OSError):
        while sock.recv(1 << 16):
            pass


def send_repeatedly(sock: socket.socket, head: bytes, piece: bytes) -> None:
    """Respond to the first request with `head`, then send `piece` repeatedly."""
    with contextlib.suppress(OSError):
        sock.recv(1 << 16)
        sock.sendall(head)
        while True:
            sock.sendall(piece)


def outcome(pushed: Pushed, unit_bytes: int, sockets: int) -> Outcome:
    """Return the outcome of a flood: cut when all sockets were cut, else slowed."""
    cut = len(pushed.cut_after_s)
    return Outcome(
        "cut" if cut == sockets else "slowed",
        pushed.cut_after_s[0] if cut else None,
        counts={"units_per_s": pushed.bytes / unit_bytes / max(pushed.seconds, 0.001), "sockets": sockets, "cut": cut},
    )


def read_all(context: AttackContext, sockets: list[socket.socket], unit_bytes: int, seconds: float | None = None) -> Outcome:
    """Read on all sockets until time is up or all are cut."""
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
    end = min(context.until, start + seconds) if seconds is not None else context.until
    threads = [threading.Thread(target=read, args=(sock,), daemon=True) for sock in sockets]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(context.seconds + 5)
    units_per_s = sum(counts.values()) / unit_bytes / max(0.001, time.monotonic() - start)
    all_cut = len(cut) == len(sockets)
    return Outcome("cut" if all_cut else "slowed", min(cut, default=None), counts={"units_per_s": units_per_s, "cut": len(cut)})


def _up(context: AttackContext, count: int, piece: bytes, unit_bytes: int) -> Generator[None, None, Outcome]:
    with RawOrigin(read_and_discard) as origin:
        _, host = context.agent("http", str(origin.port))
        sockets = context.visitors(count, first=UP % host.encode())
        yield
        return outcome(context.push(sockets, piece, context.size(60, 1)), unit_bytes, len(sockets))


def _down(context: AttackContext, count: int, piece: bytes, unit_bytes: int) -> Generator[None, None, Outcome]:
    with RawOrigin(lambda sock: send_repeatedly(sock, DOWN, piece)) as origin:
        _, host = context.agent("http", str(origin.port))
        yield
        sockets = context.visitors(count, first=b"GET / HTTP/1.1\r\nHost: %b\r\n\r\n" % host.encode())
        return read_all(context, sockets, unit_bytes, context.size(60, 1))


@attack("tiny-chunks-up-1", "S2")
def tiny_chunks_up(context: AttackContext) -> Generator[None, None, Outcome]:
    """One visitor sends a body in chunks of one byte."""
    return _up(context, 1, b"1\r\nx\r\n" * 10_000, 6)


@attack("tiny-chunks-up-16", "S2")
def tiny_chunks_up_16(context: AttackContext) -> Generator[None, None, Outcome]:
    """Sixteen visitors send bodies in chunks of one byte."""
    return _up(context, context.size(16, 4), b"1\r\nx\r\n" * 10_000, 6)


@attack("tiny-chunks-down-1", "S2")
def tiny_chunks_down(context: AttackContext) -> Generator[None, None, Outcome]:
    """An origin responds to one visitor in chunks of one byte."""
    return _down(context, 1, b"1\r\nx\r\n" * 10_000, 6)


@attack("tiny-chunks-down-16", "S2")
def tiny_chunks_down_16(context: AttackContext) -> Generator[None, None, Outcome]:
    """An origin responds to sixteen visitors in chunks of one byte."""
    return _down(context, context.size(16, 4), b"1\r\nx\r\n" * 10_000, 6)


@attack("chunk-extensions", "S2")
def chunk_extensions(context: AttackContext) -> Generator[None, None, Outcome]:
    """Sixteen visitors send chunks of one byte with long extensions."""
    return _up(context, context.size(16, 4), (b"1;" + b"e" * 200 + b"\r\nx\r\n") * 300, 207)


@attack("chunks-of-two-sizes", "S2")
def chunks_of_two_sizes(context: AttackContext) -> Generator[None, None, Outcome]:
    """The same with some large chunks, so that the total overhead of the body looks small."""
    return _up(context, context.size(16, 4), (b"1\r\nx\r\n" * 1000 + b"1000\r\n" + bytes(4096) + b"\r\n"), 6)


def _tiny_data(context: AttackContext, count: int) -> Generator[None, None, Outcome]:
    def flood(agent: ScriptedAgent, stream: int, head: bytes) -> None:
        agent.respond(stream, b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
        threading.Thread(target=keep_sending, args=(agent, stream), daemon=True).start()

    def keep_sending(agent: ScriptedAgent, stream: int) -> None:
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

    agents = [ScriptedAgent(context, f"tiny{number}", flood, number) for number in range(count)]
    yield
    sockets = []
    for agent in agents:
        sockets += context.visitors(1, first=b"GET / HTTP/1.1\r\nHost: %b\r\n\r\n" % agent.host.encode())
    return read_all(context, sockets, 1, context.size(60, 1))


@attack("tiny-data-frames-1", "Y2")
def tiny_data_frames(context: AttackContext) -> Generator[None, None, Outcome]:
    """An agent sends a response in frames of one byte."""
    return _tiny_data(context, 1)


@attack("tiny-data-frames-24", "Y2")
def tiny_data_frames_24(context: AttackContext) -> Generator[None, None, Outcome]:
    """The same on twenty-four links of one tenant, each with a reading visitor."""
    return _tiny_data(context, context.size(24, 3))


@attack("member-empty-frames", "Y2")
def member_empty_frames(context: AttackContext) -> Generator[None, None, Outcome]:
    """Eight links of one tenant send empty frames to their control streams, as fast as they can."""
    links = [context.agent_link(number, f"e{number}") for number in range(context.size(8, 2))]
    yield
    frames = data(2, b"").wire * 300
    return outcome(context.push([link.sock for link in links], frames, context.size(60, 1)), 12, len(links))


@attack("member-stray-frames", "Y2")
def member_stray_frames(context: AttackContext) -> Generator[None, None, Outcome]:
    """Eight links of one tenant send frames of one byte to unknown streams."""
    links = [context.agent_link(number, f"s{number}") for number in range(context.size(8, 2))]
    yield
    frames = data(9999, b"x").wire * 300
    return outcome(context.push([link.sock for link in links], frames, context.size(60, 1)), 13, len(links))


@attack("member-resets", "X1")
def member_resets(context: AttackContext) -> Generator[None, None, Outcome]:
    """Eight links of one tenant open streams and reset them at once, as fast as they can."""
    links = [context.agent_link(number, f"r{number}") for number in range(context.size(8, 2))]
    yield
    wire = b"".join(data(stream, b"", 1).wire + data(stream, b"", 8).wire for stream in range(4, 804, 2))
    return outcome(context.push([link.sock for link in links], wire, context.size(60, 1)), 24, len(links))


@attack("websocket-bytes", "X4")
def websocket_bytes(context: AttackContext) -> Generator[None, None, Outcome]:
    """Sixteen WebSockets on which the visitor sends single bytes."""

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
        read_and_discard(sock)

    with RawOrigin(upgraded) as origin:
        _, host = context.agent("http", str(origin.port))
        sockets = context.visitors(
            context.size(16, 4),
            first=b"GET / HTTP/1.1\r\nHost: %b\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n" % host.encode(),
        )
        for sock in sockets:
            assert sock.recv(4096).startswith(b"HTTP/1.1 101")
        yield
        return outcome(context.push(sockets, b"x", context.size(60, 1)), 1, len(sockets))
