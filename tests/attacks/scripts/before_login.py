"""Attacks on the agents' port without a token."""

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
from tests.attacks.context import CONTEXT, AttackContext
from tests.kit.blocking_link import CONTROL, LinkError
from tests.kit.yamux_wire import DATA, SYN, Frame, data, ping, update

PAYLOAD_BYTES = 250_000
"""Just below the window of a stream."""
UNKNOWN_STREAM = 9999
OPEN = update(CONTROL, flags=SYN)


def _again_and_again(context: AttackContext, wire: bytes, links_max: int, sources: int = 16) -> Generator[None, None, Outcome]:
    """Connect, send `wire` and close, repeatedly."""
    yield
    made = refused = 0
    while not context.over and made + refused < links_max:
        try:
            with context.unauthenticated_link((made + refused) % sources) as link:
                link.sock.sendall(wire)
                made += 1
        except OSError:
            refused += 1
    return Outcome("slowed", counts={"links": made, "refused": refused})


@attack("anonymous-payload", "Y4", seconds=10.0)
def anonymous_payload(context: AttackContext) -> Generator[None, None, Outcome]:
    """Links that open a stream, send three frames of 250 kB to an unknown one and close, repeatedly."""
    wire = OPEN.wire + 3 * data(UNKNOWN_STREAM, bytes(PAYLOAD_BYTES)).wire
    return _again_and_again(context, wire, context.size(100_000, 20))


@attack("anonymous-connects", "Y4", seconds=10.0, innocents=("http", "login"))
def anonymous_connects(context: AttackContext) -> Generator[None, None, Outcome]:
    """Links that close right after their TLS handshake."""
    return _again_and_again(context, b"", context.size(100_000, 30))


@attack("anonymous-half-message", "Y4", seconds=10.0)
def anonymous_half_message(context: AttackContext) -> Generator[None, None, Outcome]:
    """Links that close in the middle of a login message of maximum length."""
    wire = OPEN.wire + data(CONTROL, struct.pack(">I", 4096) + bytes(4000)).wire
    return _again_and_again(context, wire, context.size(100_000, 30))


def _floods(context: AttackContext, count: int, wire: bytes, unit_bytes: int) -> Generator[None, None, Outcome]:
    """Send `wire` repeatedly on some links; reconnect those that are cut, from the same address."""
    yield
    start, pushed, cut, refused = time.monotonic(), 0, list[float](), 0
    links: dict[int, socket.socket] = {}
    bytes_max = context.size(1 << 40, 2_000_000)
    while not context.over and pushed < bytes_max and refused < context.size(1 << 30, 8):
        for number in range(count):
            try:
                if number not in links:
                    link = context.unauthenticated_link(number)
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
def empty_frames_before_login(context: AttackContext) -> Generator[None, None, Outcome]:
    """Links without a login that send window updates by zero, 12 bytes each, and reconnect when cut."""
    return _floods(context, context.size(16, 2), update(CONTROL, 0).wire * 340, 12)


@attack("updates-before-login", "Y2", innocents=("http", "login"))
def updates_before_login(context: AttackContext) -> Generator[None, None, Outcome]:
    """The same with window updates by one, which are not empty."""
    return _floods(context, context.size(16, 2), update(CONTROL, 1).wire * 340, 12)


@attack("pings-before-login", "Y1", innocents=("http", "login"))
def pings_before_login(context: AttackContext) -> Generator[None, None, Outcome]:
    """The same with pings, without reading the pongs."""
    return _floods(context, context.size(16, 2), ping(7).wire * 340, 12)


@attack("strays-before-login", "Y2", innocents=("http", "login"))
def strays_before_login(context: AttackContext) -> Generator[None, None, Outcome]:
    """The same with frames of one byte for an unknown stream."""
    return _floods(context, context.size(16, 2), data(UNKNOWN_STREAM, b"x").wire * 300, 13)


@attack("streams-before-login", "Y2", innocents=("http", "login"))
def streams_before_login(context: AttackContext) -> Generator[None, None, Outcome]:
    """The same with opened streams, of which one is allowed before login."""
    wire = b"".join(update(stream, flags=SYN).wire for stream in range(4, 684, 2))
    return _floods(context, context.size(16, 2), wire, 12)


@attack("bytewise-message", "Y2", innocents=("http", "login"))
def bytewise_message(context: AttackContext) -> Generator[None, None, Outcome]:
    """Links that send an endless login message in frames of one byte."""
    wire = data(CONTROL, b"\0").wire + data(CONTROL, b"\0").wire + data(CONTROL, b"\x0f").wire + data(CONTROL, b"x").wire * 300
    return _floods(context, context.size(16, 2), wire, 13)


@attack("half-handshakes", "X3", seconds=8.0, innocents=("http", "login"))
def half_handshakes(context: AttackContext) -> Generator[None, None, Outcome]:
    """Five addresses keep as many pending TLS handshakes as they may: 640 silent connections, replaced when cut."""
    yield
    sources, each = 5, context.size(128, 10)
    connections: list[socket.socket] = []
    cut = 0
    for number in context.every(0.2):
        while len(connections) < sources * each:
            try:
                connections.append(context.agents_socket((len(connections) + number) % sources))
            except OSError:
                cut += 1
                break
        alive = []
        for sock in connections:
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
        connections = alive
        if context.small and number >= 3:
            break
    return Outcome("refused" if cut else "slowed", counts={"held": len(connections), "cut": cut})


@attack("silent-links", "X3", seconds=8.0, innocents=("http", "login"))
def silent_links(context: AttackContext) -> Generator[None, None, Outcome]:
    """Five addresses keep as many links without a login as they may: a TLS handshake, then silence."""
    yield
    sources, each = 5, context.size(128, 6)
    made = refused = 0
    while not context.over and made < sources * each and refused < 10 * each:
        try:
            context.unauthenticated_link(made % sources)
            made += 1
        except OSError:
            refused += 1
    if not context.small:
        time.sleep(context.left_s)
    return Outcome("refused" if refused else "slowed", counts={"links": made, "refused": refused})


@attack("bytewise-hello", "X3", seconds=13.0, innocents=("http", "login"))
def bytewise_hello(context: AttackContext) -> Generator[None, None, Outcome]:
    """Sixty-four connections that send a ClientHello a byte at a time."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        CONTEXT.wrap_bio(incoming, outgoing).do_handshake()
    hello = outgoing.read()
    yield
    sockets = [context.agents_socket(number % 8) for number in range(context.size(64, 8))]
    start, cut_after = time.monotonic(), 0.0
    for number in context.every(0.25):
        for sock in list(sockets):
            try:
                sock.sendall(hello[number : number + 1])
            except OSError:
                sockets.remove(sock)
                cut_after = cut_after or time.monotonic() - start
        if not sockets or (context.small and number > 2):
            break
    return Outcome("slowed" if sockets else "cut", cut_after or None, counts={"left": len(sockets)})


@attack("garbage-before-login", "X7", innocents=("http", "login"))
def garbage_at_the_agents_port(context: AttackContext) -> Generator[None, None, Outcome]:
    """Connections that send random bytes or HTTP to the agents' port."""
    yield
    made = 0
    while not context.over and made < context.size(100_000, 50):
        with contextlib.suppress(OSError), context.agents_socket(made % 16) as sock:
            sock.sendall(os.urandom(2000) if made % 2 else b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        made += 1
    return Outcome("slowed", counts={"connections": made})


GUESSES_MAX = 12
"""Guesses that one address may have checked during a campaign: five without delay, then one, two, four seconds apart."""


@attack("wrong-secrets", "Y6", innocents=("http", "login"))
def wrong_secrets(context: AttackContext) -> Generator[None, None, Outcome]:
    """Logins with wrong secrets from twenty addresses; counts how many are checked."""
    yield
    made, judged = 0, Counter[int]()
    while not context.over and made < context.size(100_000, 200):
        source = made % 20
        made += 1
        with contextlib.suppress(OSError, LinkError), context.unauthenticated_link(source) as link:
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


def _false_lengths() -> Generator[bytes, None, None]:
    """Yield bytes with false lengths, in every length field."""
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
def length_lies(context: AttackContext) -> Generator[None, None, Outcome]:
    """False lengths in every length field before login: frames, messages, msgpack."""
    lies = list(_false_lengths())
    yield
    made = received = 0
    for number, wire in enumerate(lies[:: context.size(1, 12)]):
        with contextlib.suppress(OSError), context.unauthenticated_link(number) as link:
            link.sock.sendall(wire)
            link.sock.settimeout(0.005)
            received += len(link.sock.recv(4096))
        made += 1
        if context.over:
            break
    return Outcome("slowed", counts={"lies": made, "bytes_received": received})
