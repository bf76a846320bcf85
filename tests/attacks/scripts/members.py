"""Tenants with a valid token: hostile agents and hostile origins."""

import contextlib
import socket
import struct
import time
from collections.abc import Generator

import msgspec

from portway.errors import PortwayError
from portway.protocol.control import framing
from portway.protocol.control.messages import AskTicket, Claim, ExchangeLimits, Granted, Measure, Refused, Release, Released, encode_message
from tests.attacks.attack import Outcome, attack
from tests.attacks.ground import Ground
from tests.attacks.hand_agent import HandAgent, answer_nothing, answer_ok
from tests.attacks.scripts.tiny import outcome, pour, read_all, swallow
from tests.attacks.site import INNOCENT
from tests.kit.blocking_link import CONTROL, LinkError
from tests.kit.origins import RawOrigin
from tests.kit.yamux_wire import RST, Frame, data


@attack("sessions-come-and-go", "Y4", seconds=10.0)
def sessions_come_and_go(ground: Ground) -> Generator[None, None, Outcome]:
    """Agents with a token that log in and leave, again and again."""
    yield
    made = refused = 0
    while not ground.over and made + refused < ground.size(100_000, 20):
        try:
            ground.member((made + refused) % 16, f"s{made % 50}").close()
            made += 1
        except (OSError, LinkError, PortwayError):
            refused += 1
    return Outcome("slowed", counts={"sessions": made, "refused": refused})


@attack("unknown-fields", "Y4", seconds=10.0)
def unknown_fields(ground: Ground) -> Generator[None, None, Outcome]:
    """Sixty sessions of one token send requests with 65 kB of unknown fields, faster than requests are answered."""
    links = [ground.member(number, f"u{number}") for number in range(ground.size(60, 4))]
    message = framing.encode(msgspec.msgpack.encode({"t": "AskTicket", "id": 1, "unknown": bytes(65_400)}))
    yield
    cut = sent = 0
    while not ground.over:
        for link in list(links):
            try:
                link.sock.settimeout(1.0)
                while link.control_credit >= len(message):
                    link.send_control_bytes(message)
                    sent += 1
                link.pump(0.002)
            except (OSError, LinkError, PortwayError):
                links.remove(link)
                cut += 1
        if ground.small:
            break
    return Outcome("cut" if cut else "slowed", counts={"left": len(links), "cut": cut, "messages": sent})


@attack("far-deadlines", "X3", seconds=15.0, growth_max_mb=8.0)
def far_deadlines(ground: Ground) -> Generator[None, None, Outcome]:
    """Requests of a tunnel whose connections may live for thirty years: does each leave its timer behind?"""
    # Growth: 100,000 requests that left 80 bytes each are 8 MB.
    agent = HandAgent(ground, "far", answer_ok)
    agent.link.send_message(Claim(id=7, kind="http", name="far2", limits=ExchangeLimits(max_lifetime_s=1e9, idle_timeout_s=1e9)))
    time.sleep(0.3)
    request = b"GET / HTTP/1.1\r\nHost: far2.localhost\r\n\r\n"
    yield
    sockets = ground.visitors(16, 8)
    found = ground.push(sockets, request * 1000, ground.size(60, 1))
    result = outcome(found, len(request), len(sockets))
    result.counts["requests"] = agent.requests
    return result


@attack("answers-nobody-reads", "Y1")
def answers_nobody_reads(ground: Ground) -> Generator[None, None, Outcome]:
    """Thirty sessions ask for tickets and never read an answer."""
    links = [ground.member(number, f"n{number}") for number in range(ground.size(30, 4))]
    request = framing.encode(msgspec.msgpack.encode({"t": "AskTicket", "id": 1}))
    wire = b"".join(data(CONTROL, request).wire for _ in range(500))
    yield
    return outcome(ground.push([link.sock for link in links], wire, ground.size(60, 1), read=False), len(request) + 12, len(links))


@attack("claims-come-and-go", "Y7", seconds=8.0)
def claims_come_and_go(ground: Ground) -> Generator[None, None, Outcome]:
    """A session claims ever new names, and the innocent tenant's in between."""
    link = ground.member(0, "claims")
    yield
    granted = refused = crossed = 0
    number = 0
    while not ground.over and number < ground.size(1_000_000, 30):
        number += 1
        name = INNOCENT if number % 5 == 0 else f"claim-{number}"
        link.send_message(Claim(id=number, kind="http", name=name, takeover=True))
        answer = link.receive(object)
        granted += isinstance(answer, Granted)
        refused += isinstance(answer, Refused)
        crossed += isinstance(answer, Granted) and name == INNOCENT
    return Outcome("free" if crossed else "refused", crossed=crossed, counts={"granted": granted, "refused": refused})


@attack("idle-links", "X6", seconds=8.0, descriptors=256)
def idle_links(ground: Ground) -> Generator[None, None, Outcome]:
    """At 256 descriptors, sessions of one token that do nothing take them all."""
    yield
    made = refused = 0
    while not ground.over and made + refused < 250:
        try:
            ground.member(0, f"i{made}").sock.settimeout(5)
            made += 1
        except (OSError, LinkError, PortwayError):
            refused += 1
            if refused > 5:
                break
    time.sleep(min(ground.left_s, ground.size(60, 1)))
    return Outcome("refused" if refused else "slowed", counts={"links": made, "refused": refused})


@attack("deaf-agent", "Y3", seconds=8.0)
def deaf_agent(ground: Ground) -> Generator[None, None, Outcome]:
    """Visitors upload to an agent that reads nothing from its link any more."""
    agent = HandAgent(ground, "deaf", answer_nothing)
    head = b"POST / HTTP/1.1\r\nHost: deaf.localhost\r\nContent-Length: 1000000000\r\n\r\n"
    yield
    agent.deaf.set()
    sockets = ground.visitors(ground.size(300, 20), 16, head)
    found = ground.push(sockets, bytes(65536), ground.size(60, 1))
    cut = len(found.cut_after_s)
    return Outcome("cut" if cut else "slowed", min(found.cut_after_s, default=None), counts={"bytes": found.bytes, "cut": cut})


@attack("resets-everything", "X1")
def resets_everything(ground: Ground) -> Generator[None, None, Outcome]:
    """An agent that resets each stream that it is given, whose visitors ask again and again."""

    def refuse(agent: HandAgent, stream: int, head: bytes) -> None:
        agent.send(Frame(1, RST, stream))

    HandAgent(ground, "resets", refuse)
    request = b"GET / HTTP/1.1\r\nHost: resets.localhost\r\n\r\n"
    yield
    sockets = ground.visitors(16, 8)
    return outcome(ground.push(sockets, request * 100, ground.size(60, 1)), len(request), len(sockets))


@attack("unasked-answer", "S6", seconds=10.0)
def unasked_answer(ground: Ground) -> Generator[None, None, Outcome]:
    """An origin that sends a second answer behind its first one, for the next visitor to get."""

    def answer_twice(sock: socket.socket) -> None:
        number = 0
        while piece := sock.recv(65536):
            number += 1
            own = piece.split(b" ")[1]
            sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(own), own))
            time.sleep(0.01)
            sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nstolen")

    with RawOrigin(answer_twice) as origin:
        _, host = ground.agent("http", str(origin.port))
        yield
        crossed = rounds = 0
        for rounds in range(1, ground.size(100, 10) + 1):
            own = b"/own%d" % rounds
            with contextlib.suppress(OSError), ground.visitor(rounds % 8) as sock:
                sock.sendall(b"GET %b HTTP/1.1\r\nHost: %b\r\nConnection: close\r\n\r\n" % (own, host.encode()))
                crossed += b"stolen" in sock.recv(4096)
            time.sleep(0.03)
            if ground.over:
                break
        return Outcome("free" if crossed else "refused", crossed=crossed, counts={"rounds": rounds})


def _hostile_origin(ground: Ground, head: bytes, piece: bytes, count: int = 16) -> Generator[None, None, Outcome]:
    """Let visitors ask again and again for an answer that never ends well."""
    with RawOrigin(lambda sock: pour(sock, head, piece)) as origin:
        _, host = ground.agent("http", str(origin.port))
        request = b"GET / HTTP/1.1\r\nHost: %b\r\n\r\n" % host.encode()
        yield
        made = 0
        while not ground.over and made < ground.size(100_000, 2 * count):
            sockets = ground.visitors(count, 8, request)
            made += len(sockets)
            read_all(ground, sockets, 1, 1.0)
            for sock in sockets:
                sock.close()
        return Outcome("cut", counts={"requests": made})


@attack("interim-flood", "S6")
def interim_flood(ground: Ground) -> Generator[None, None, Outcome]:
    """An origin that answers with interim answers without end."""
    return _hostile_origin(ground, b"", b"HTTP/1.1 103 Early Hints\r\n\r\n" * 1000)


@attack("endless-head", "S6")
def endless_head(ground: Ground) -> Generator[None, None, Outcome]:
    """An origin whose answer's head never ends."""
    return _hostile_origin(ground, b"HTTP/1.1 200 OK\r\n", b"A: b\r\n" * 2000)


@attack("endless-trailers", "S2")
def endless_trailers(ground: Ground) -> Generator[None, None, Outcome]:
    """An origin whose trailers never end."""
    return _hostile_origin(ground, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"A: b\r\n" * 2000)


@attack("speed-tests", "Y2", seconds=8.0)
def speed_tests(ground: Ground) -> Generator[None, None, Outcome]:
    """A session asks for speed tests, one after the other, with as many streams as it may."""
    agent = HandAgent(ground, "speed", answer_nothing)
    yield
    number = 0
    while not ground.over and not agent.lost:
        number += 1
        with contextlib.suppress(OSError):
            agent.send(data(CONTROL, encode_message(Measure(id=number, direction="down", streams=64, seconds=5.0))))
        time.sleep(0.2)
        if ground.small and number > 3:
            break
    return Outcome("cut" if agent.lost else "slowed", counts={"asked": number}, note=agent.lost)


@attack("ticket-hoard", "Y5")
def ticket_hoard(ground: Ground) -> Generator[None, None, Outcome]:
    """Ten sessions ask for tickets and use none."""
    links = [ground.member(number, f"t{number}") for number in range(ground.size(10, 2))]
    yield
    got, number = 0, 0
    while not ground.over and number < ground.size(1_000_000, 30):
        number += 1
        for link in links:
            link.send_message(AskTicket(id=number))
        for link in links:
            link.receive(object)
            got += 1
    return Outcome("slowed", counts={"tickets": got})


@attack("bulk-down", "L1", seconds=8.0)
def bulk_down(ground: Ground) -> Generator[None, None, Outcome]:
    """A tenant's eight visitors download as fast as they can: no attack, but a neighbour."""
    with RawOrigin(lambda sock: pour(sock, b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n", bytes(1 << 18))) as origin:
        _, host = ground.agent("http", str(origin.port))
        yield
        sockets = ground.visitors(8, 8, b"GET / HTTP/1.1\r\nHost: %b\r\n\r\n" % host.encode())
        return read_all(ground, sockets, 1, ground.size(60, 1))


@attack("name-race", "Y7", seconds=8.0)
def name_race(ground: Ground) -> Generator[None, None, Outcome]:
    """Eight agents, each with an identity of its own, claim the same name at the same moment: one gets it, always."""
    links = [ground.member(number, f"racer{number}") for number in range(8)]
    yield
    rounds = wrong = 0
    while not ground.over and rounds < ground.size(100_000, 20):
        rounds += 1
        for link in links:
            link.send_message(Claim(id=rounds, kind="http", name=f"race-{rounds}"))
        answers = [link.receive(object) for link in links]
        winners = [(link, answer) for link, answer in zip(links, answers, strict=True) if isinstance(answer, Granted)]
        wrong += len(winners) != 1
        for link, answer in winners:
            link.send_message(Release(id=rounds, tunnel=answer.tunnel))
            link.receive(Released)
    return Outcome("free" if wrong else "refused", crossed=wrong, counts={"rounds": rounds})


@attack("flapping-agent", "Y7", seconds=8.0)
def flapping_agent(ground: Ground) -> Generator[None, None, Outcome]:
    """An agent that comes and goes several times a second, while visitors wait for it."""
    yield
    rounds = 0
    while not ground.over and rounds < ground.size(1000, 4):
        rounds += 1
        agent = HandAgent(ground, "flap", answer_ok)
        ground.visitors(4, 4, b"GET / HTTP/1.1\r\nHost: flap.localhost\r\n\r\n")
        agent.vanish()
        ground.visitors(4, 4, b"GET / HTTP/1.1\r\nHost: flap.localhost\r\n\r\n")
    return Outcome("slowed", counts={"rounds": rounds})


@attack("tcp-connects-and-resets", "X1")
def tcp_connects_and_resets(ground: Ground) -> Generator[None, None, Outcome]:
    """Connections to a tcp tunnel that are reset at once, while its origin accepts each of them."""
    with RawOrigin(swallow) as origin:
        port = ground.tcp_agent(origin.port)
        linger = struct.pack("ii", 1, 0)
        yield
        made = 0
        while not ground.over and made < ground.size(1_000_000, 100):
            with contextlib.suppress(OSError), ground.visitor(made % 8, port=port) as sock:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            made += 1
        return Outcome("slowed", counts={"connections": made, "at_the_origin": origin.accepted})


@attack("silent-tcp-visitors", "X6", seconds=8.0, descriptors=1024)
def silent_tcp_visitors(ground: Ground) -> Generator[None, None, Outcome]:
    """One tenant's tcp tunnel takes as many places for visitors as it gets."""
    with RawOrigin(swallow) as origin:
        port = ground.tcp_agent(origin.port)
        yield
        wanted = ground.size(1200, 600)
        sockets = ground.visitors(wanted, 64, port=port)
        gone = wanted - len(sockets) + len(ground.watch(sockets, ground.size(60.0, 3.0)))
        return Outcome("refused" if gone else "free", counts={"held": wanted - gone, "refused": gone})
