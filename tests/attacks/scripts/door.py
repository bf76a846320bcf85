"""Strangers at the agents' address, who have no token."""

import contextlib
import os
import socket
import ssl
import struct
import time
from collections import Counter
from collections.abc import Generator

from portway.protocol.control.messages import Challenge, Hello, Proof, encode_message
from tests.attacks.attack import Outcome, attack
from tests.attacks.ground import CONTEXT, Ground
from tests.kit.blocking_link import CONTROL, LinkError
from tests.kit.yamux_wire import DATA, SYN, Frame, data, ping, update

PAYLOAD_BYTES = 250_000
"""Just below the window of a stream."""
UNKNOWN_STREAM = 9999
OPEN = update(CONTROL, flags=SYN)


def _again_and_again(ground: Ground, wire: bytes, links_max: int, sources: int = 16) -> Generator[None, None, Outcome]:
    """Connect, send `wire`, close."""
    yield
    made = refused = 0
    while not ground.over and made + refused < links_max:
        try:
            with ground.tls_stranger((made + refused) % sources) as link:
                link.sock.sendall(wire)
                made += 1
        except OSError:
            refused += 1
    return Outcome("slowed", counts={"links": made, "refused": refused})


@attack("anonymous-payload", "Y4", seconds=10.0)
def anonymous_payload(ground: Ground) -> Generator[None, None, Outcome]:
    """Links that open a stream, send three frames of 250 kB to one that is not there, and leave; again and again."""
    wire = OPEN.wire + 3 * data(UNKNOWN_STREAM, bytes(PAYLOAD_BYTES)).wire
    return _again_and_again(ground, wire, ground.size(100_000, 20))


@attack("anonymous-connects", "Y4", seconds=10.0, innocents=("http", "login"))
def anonymous_connects(ground: Ground) -> Generator[None, None, Outcome]:
    """Links that leave as soon as their handshake is done."""
    return _again_and_again(ground, b"", ground.size(100_000, 30))


@attack("anonymous-half-message", "Y4", seconds=10.0)
def anonymous_half_message(ground: Ground) -> Generator[None, None, Outcome]:
    """Links that leave in the middle of a login message as large as it may be."""
    wire = OPEN.wire + data(CONTROL, struct.pack(">I", 4096) + bytes(4000)).wire
    return _again_and_again(ground, wire, ground.size(100_000, 30))


def _floods(ground: Ground, count: int, wire: bytes, unit_bytes: int) -> Generator[None, None, Outcome]:
    """Send `wire` again and again on some links; who is cut comes again, from the same address."""
    yield
    start, pushed, cut, refused = time.monotonic(), 0, list[float](), 0
    links: dict[int, socket.socket] = {}
    bytes_max = ground.size(1 << 40, 2_000_000)
    while not ground.over and pushed < bytes_max and refused < ground.size(1 << 30, 8):
        for number in range(count):
            try:
                if number not in links:
                    link = ground.tls_stranger(number)
                    link.sock.sendall(OPEN.wire)
                    link.sock.settimeout(0.02)
                    links[number] = link.sock
                pushed += links[number].send(wire)
            except TimeoutError:
                continue
            except OSError:
                if links.pop(number, None) is None:
                    refused += 1
                else:
                    cut.append(time.monotonic() - start)
        if not links:
            time.sleep(0.01)
    counts: dict[str, float] = {"units": pushed // unit_bytes, "cut": len(cut), "refused": refused}
    return Outcome("cut" if cut else "slowed", min(cut, default=None), counts=counts)


@attack("empty-frames-before-login", "Y2", innocents=("http", "login"))
def empty_frames_before_login(ground: Ground) -> Generator[None, None, Outcome]:
    """Links without a login that send updates by zero, 12 bytes each, and come again when they are cut."""
    return _floods(ground, ground.size(16, 2), update(CONTROL, 0).wire * 340, 12)


@attack("updates-before-login", "Y2", innocents=("http", "login"))
def updates_before_login(ground: Ground) -> Generator[None, None, Outcome]:
    """The same with updates by one, which are not empty."""
    return _floods(ground, ground.size(16, 2), update(CONTROL, 1).wire * 340, 12)


@attack("pings-before-login", "Y1", innocents=("http", "login"))
def pings_before_login(ground: Ground) -> Generator[None, None, Outcome]:
    """The same with pings, whose answers nobody reads."""
    return _floods(ground, ground.size(16, 2), ping(7).wire * 340, 12)


@attack("strays-before-login", "Y2", innocents=("http", "login"))
def strays_before_login(ground: Ground) -> Generator[None, None, Outcome]:
    """The same with frames of one byte for a stream that never was."""
    return _floods(ground, ground.size(16, 2), data(UNKNOWN_STREAM, b"x").wire * 300, 13)


@attack("streams-before-login", "Y2", innocents=("http", "login"))
def streams_before_login(ground: Ground) -> Generator[None, None, Outcome]:
    """The same with streams that are opened, of which a stranger may have one."""
    wire = b"".join(update(stream, flags=SYN).wire for stream in range(4, 684, 2))
    return _floods(ground, ground.size(16, 2), wire, 12)


@attack("bytewise-message", "Y2", innocents=("http", "login"))
def bytewise_message(ground: Ground) -> Generator[None, None, Outcome]:
    """Links that send a login message in frames of one byte; it never ends."""
    wire = data(CONTROL, b"\0").wire + data(CONTROL, b"\0").wire + data(CONTROL, b"\x0f").wire + data(CONTROL, b"x").wire * 300
    return _floods(ground, ground.size(16, 2), wire, 13)


@attack("half-handshakes", "X3", seconds=8.0, innocents=("http", "login"))
def half_handshakes(ground: Ground) -> Generator[None, None, Outcome]:
    """Five addresses hold as many TLS handshakes half done as they are let: 640 connections that say nothing, and new ones."""
    yield
    sources, each = 5, ground.size(128, 10)
    held: list[socket.socket] = []
    cut = 0
    for number in ground.every(0.2):
        while len(held) < sources * each:
            try:
                held.append(ground.stranger((len(held) + number) % sources))
            except OSError:
                cut += 1
                break
        alive = []
        for sock in held:
            sock.setblocking(False)
            try:
                gone = not sock.recv(1)
            except BlockingIOError:
                gone = False
            except OSError:
                gone = True
            if gone:
                cut += 1
                sock.close()
            else:
                alive.append(sock)
        held = alive
        if ground.small and number >= 3:
            break
    return Outcome("refused" if cut else "slowed", counts={"held": len(held), "cut": cut})


@attack("silent-strangers", "X3", seconds=8.0, innocents=("http", "login"))
def silent_strangers(ground: Ground) -> Generator[None, None, Outcome]:
    """Five addresses hold as many links without a login as they are let: TLS, and then nothing."""
    yield
    sources, each = 5, ground.size(128, 6)
    made = refused = 0
    while not ground.over and made < sources * each and refused < 10 * each:
        try:
            ground.tls_stranger(made % sources)
            made += 1
        except OSError:
            refused += 1
    if not ground.small:
        time.sleep(ground.left_s)
    return Outcome("refused" if refused else "slowed", counts={"links": made, "refused": refused})


@attack("bytewise-hello", "X3", seconds=13.0, innocents=("http", "login"))
def bytewise_hello(ground: Ground) -> Generator[None, None, Outcome]:
    """Sixty-four connections that send a ClientHello a byte at a time."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        CONTEXT.wrap_bio(incoming, outgoing).do_handshake()
    hello = outgoing.read()
    yield
    everybody = [ground.stranger(number % 8) for number in range(ground.size(64, 8))]
    start, cut_after = time.monotonic(), 0.0
    for number in ground.every(0.25):
        for sock in list(everybody):
            try:
                sock.sendall(hello[number : number + 1])
            except OSError:
                everybody.remove(sock)
                cut_after = cut_after or time.monotonic() - start
        if not everybody or (ground.small and number > 2):
            break
    return Outcome("slowed" if everybody else "cut", cut_after or None, counts={"left": len(everybody)})


@attack("garbage-at-the-door", "X7", innocents=("http", "login"))
def garbage_at_the_door(ground: Ground) -> Generator[None, None, Outcome]:
    """Connections that send random bytes, or HTTP, to the agents' address."""
    yield
    made = 0
    while not ground.over and made < ground.size(100_000, 50):
        with contextlib.suppress(OSError), ground.stranger(made % 16) as sock:
            sock.sendall(os.urandom(2000) if made % 2 else b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        made += 1
    return Outcome("slowed", counts={"connections": made})


GUESSES_MAX = 12
"""What one address may have judged within a campaign's seconds: five for free, then one, two, four seconds apart."""


@attack("wrong-secrets", "Y6", innocents=("http", "login"))
def wrong_secrets(ground: Ground) -> Generator[None, None, Outcome]:
    """Logins with wrong secrets from twenty addresses: how many are judged at all?"""
    yield
    made, judged = 0, Counter[int]()
    while not ground.over and made < ground.size(100_000, 200):
        source = made % 20
        made += 1
        with contextlib.suppress(OSError, LinkError), ground.tls_stranger(source) as link:
            link.open_control()
            link.send_message(
                Hello(version=1, token="nobody", identity=bytes(32), scram="p=tls-server-end-point,,n=nobody,r=abcdefghijkl", agent="")
            )
            challenge = link.receive(Challenge)
            nonce = challenge.scram.partition("r=")[2].partition(",")[0]
            link.send_message(Proof(scram=f"c=cD10bHMtc2VydmVyLWVuZC1wb2ludCwsAAAA,r={nonce},p={'A' * 43}="))
            judged[source] += 1
    most = max(judged.values(), default=0)
    counts: dict[str, float] = {"links": made, "judged": judged.total(), "of_one_source": most}
    return Outcome("free" if most > GUESSES_MAX else "refused", counts=counts)


LENGTHS = (0, 1, 255, 256, 4095, 4096, 4097, 65535, 65536, 2**31 - 1, 2**31, 2**31 + 1, 2**32 - 2, 2**32 - 1)


def _lies() -> Generator[bytes, None, None]:
    """Yield bytes that lie about a length, in every field that has one."""
    for length in LENGTHS:
        for kind in range(5):
            for flags in (0, SYN, 4, 8, 0xFFFF):
                yield Frame(kind, flags, CONTROL, length).wire
        yield OPEN.wire + data(CONTROL, struct.pack(">I", length) + b"x" * 100).wire
        yield OPEN.wire + Frame(DATA, 0, CONTROL, length, b"y" * 64).wire
        yield OPEN.wire + update(CONTROL, length).wire * 3
    body = encode_message(Hello(version=1, token="t", identity=bytes(32), scram="n", agent=""))[4:]
    for at in range(len(body)):
        for byte in (0xC6, 0xDB, 0xDD, 0xDF, 0xFF):
            broken = body[:at] + bytes((byte,)) + b"\xff\xff\xff\xff" + body[at + 1 :]
            yield OPEN.wire + data(CONTROL, struct.pack(">I", len(broken)) + broken).wire


@attack("length-lies", "Y4", seconds=15.0)
def length_lies(ground: Ground) -> Generator[None, None, Outcome]:
    """Every length that a stranger may state, untrue: in frames, in messages, in msgpack."""
    lies = list(_lies())
    yield
    made = heard = 0
    for number, wire in enumerate(lies[:: ground.size(1, 12)]):
        with contextlib.suppress(OSError), ground.tls_stranger(number) as link:
            link.sock.sendall(wire)
            link.sock.settimeout(0.005)
            heard += len(link.sock.recv(4096))
        made += 1
        if ground.over:
            break
    return Outcome("slowed", counts={"lies": made, "bytes_heard": heard})
