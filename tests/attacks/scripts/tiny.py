"""Bytes in the smallest pieces that a protocol allows: work without a load."""

import contextlib
import socket
from collections.abc import Generator

from tests.attacks.attack import Outcome, attack
from tests.attacks.ground import Ground, Pushed
from tests.kit.origins import RawOrigin


def swallow(sock: socket.socket) -> None:
    """Be an origin that reads all and answers nothing."""
    with contextlib.suppress(OSError):
        while sock.recv(1 << 16):
            pass


def outcome(pushed: Pushed, unit_bytes: int, sockets: int) -> Outcome:
    """Return how a flood went: cut when all sockets were, else slowed."""
    cut = len(pushed.cut_after_s)
    return Outcome(
        "cut" if cut == sockets else "slowed",
        pushed.cut_after_s[0] if cut else None,
        counts={"units_per_s": pushed.bytes / unit_bytes / max(pushed.seconds, 0.001), "sockets": sockets, "cut": cut},
    )


def _chunks_up(ground: Ground, count: int) -> Generator[None, None, Outcome]:
    with RawOrigin(swallow) as origin:
        _, host = ground.agent("http", str(origin.port))
        sockets = ground.visitors(count)
        for sock in sockets:
            sock.sendall(b"POST / HTTP/1.1\r\nHost: %b\r\nTransfer-Encoding: chunked\r\n\r\n" % host.encode())
        yield
        return outcome(ground.push(sockets, b"1\r\nx\r\n" * 10_000, ground.size(60, 1)), 6, len(sockets))


@attack("tiny-chunks-up-1", "S2")
def tiny_chunks_up(ground: Ground) -> Generator[None, None, Outcome]:
    """One visitor sends a body in chunks of one byte."""
    return _chunks_up(ground, 1)


@attack("tiny-chunks-up-16", "S2")
def tiny_chunks_up_16(ground: Ground) -> Generator[None, None, Outcome]:
    """Sixteen visitors send bodies in chunks of one byte."""
    return _chunks_up(ground, ground.size(16, 4))
