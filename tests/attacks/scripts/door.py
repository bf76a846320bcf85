"""Strangers at the agents' address, who have no token."""

import contextlib
from collections.abc import Generator
from time import monotonic

from tests.attacks.attack import Outcome, attack
from tests.attacks.ground import Ground
from tests.kit.blocking_link import CONTROL
from tests.kit.yamux_wire import SYN, data, ping, update

PAYLOAD_BYTES = 250_000
"""Just below the window of a stream."""
UNKNOWN_STREAM = 9999


@attack("anonymous-payload", "Y4", seconds=10.0)
def anonymous_payload(ground: Ground) -> Generator[None, None, Outcome]:
    """Links that open a stream, send three frames of 250 kB to one that is not there, and leave; again and again."""
    wire = update(CONTROL, flags=SYN).wire + 3 * data(UNKNOWN_STREAM, bytes(PAYLOAD_BYTES)).wire
    yield
    made = refused = 0
    while not ground.over and made < ground.size(100_000, 20):
        try:
            with ground.tls_stranger(made % 16) as link:
                link.sock.sendall(wire)
                made += 1
        except OSError:
            refused += 1
    return Outcome("slowed", counts={"links": made, "refused": refused})


@attack("anonymous-connects", "Y4", seconds=10.0)
def anonymous_connects(ground: Ground) -> Generator[None, None, Outcome]:
    """Links that leave as soon as their handshake is done."""
    yield
    made = refused = 0
    while not ground.over and made < ground.size(100_000, 30):
        try:
            ground.tls_stranger(made % 16).close()
            made += 1
        except OSError:
            refused += 1
    return Outcome("slowed", counts={"links": made, "refused": refused})


def _tiny_frames(ground: Ground, count: int, frame: bytes) -> Generator[None, None, Outcome]:
    links = []
    for number in range(count):
        with contextlib.suppress(OSError):
            link = ground.tls_stranger(number)
            link.open_control()
            links.append(link)
    yield
    cut_after: list[float] = []
    pushed = 0
    start = monotonic()
    payload = frame * (4096 // len(frame))
    for link in links:
        link.sock.settimeout(0.05)
    while links and not ground.over:
        for link in list(links):
            try:
                pushed += link.sock.send(payload)
            except TimeoutError:
                continue
            except OSError:
                links.remove(link)
                cut_after.append(monotonic() - start)
        if ground.small and pushed > 4_000_000:
            break
    return Outcome(
        "slowed" if links else "cut", cut_after[0] if cut_after else None, counts={"frames": pushed // len(frame), "links_left": len(links)}
    )


@attack("tiny-frames-before-login", "Y2", innocents=("http", "login"))
def tiny_frames_before_login(ground: Ground) -> Generator[None, None, Outcome]:
    """Sixteen links without a login that send updates by zero, 12 bytes each, as fast as they can."""
    return _tiny_frames(ground, ground.size(16, 2), update(CONTROL, 0).wire)


@attack("pings-before-login", "Y1", innocents=("http", "login"))
def pings_before_login(ground: Ground) -> Generator[None, None, Outcome]:
    """Sixteen links without a login that ping as fast as they can, and read no answer."""
    return _tiny_frames(ground, ground.size(16, 2), ping(7).wire)


@attack("strays-before-login", "Y2", innocents=("http", "login"))
def strays_before_login(ground: Ground) -> Generator[None, None, Outcome]:
    """Sixteen links without a login that send 1-byte frames of streams that never were."""
    return _tiny_frames(ground, ground.size(16, 2), data(UNKNOWN_STREAM, b"x").wire)
