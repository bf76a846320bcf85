"""Attacks with a valid token: hostile agents and hostile origins."""

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Generator

import msgspec

from portway.errors import PortwayError
from portway.protocol.control import framing
from portway.protocol.control.messages import AskTicket, Claim, ExchangeLimits, Granted, Measure, Refused, Release, Released, encode_message
from tests.attacks.attack import Outcome, attack
from tests.attacks.context import AttackContext
from tests.attacks.scripted_agent import ScriptedAgent, never_respond, respond_ok
from tests.attacks.scripts.tiny import outcome, read_all, read_and_discard, send_repeatedly
from tests.attacks.site import INNOCENT
from tests.kit.blocking_link import CONTROL, LinkError
from tests.kit.origins import RawOrigin
from tests.kit.yamux_wire import RST, Frame, data


@attack("sessions-come-and-go", "Y4", seconds=10.0)
def sessions_come_and_go(context: AttackContext) -> Generator[None, None, Outcome]:
    """Agents that log in and disconnect, repeatedly."""
    yield
    made = refused = 0
    while not context.over and made + refused < context.size(100_000, 20):
        try:
            context.agent_link((made + refused) % 16, f"s{made % 50}").close()
            made += 1
        except (OSError, LinkError, PortwayError):
            refused += 1
    return Outcome("slowed", counts={"sessions": made, "refused": refused})


@attack("unknown-fields", "Y4", seconds=10.0)
def unknown_fields(context: AttackContext) -> Generator[None, None, Outcome]:
    """Sixty sessions of one token send control requests with 65 kB of unknown fields, faster than the server replies."""
    links = [context.agent_link(number, f"u{number}") for number in range(context.size(60, 4))]
    message = framing.encode(msgspec.msgpack.encode({"t": "AskTicket", "id": 1, "unknown": bytes(65_400)}))
    yield
    cut = sent = 0
    while not context.over:
        for link in list(links):
            try:
                link.sock.settimeout(1.0)
                while link.control_credit >= len(message):
                    link.send_control_bytes(message)
                    sent += 1
                link.read_for(0.002)
            except (OSError, LinkError, PortwayError):
                links.remove(link)
                cut += 1
        if context.small:
            break
    return Outcome("cut" if cut else "slowed", counts={"left": len(links), "cut": cut, "messages": sent})


@attack("far-deadlines", "X3", seconds=15.0, growth_max_mb=8.0)
def far_deadlines(context: AttackContext) -> Generator[None, None, Outcome]:
    """Requests to a tunnel with a lifetime limit of thirty years, to check that none leaves a timer behind."""
    # Growth: 100,000 requests that leave 80 bytes each would be 8 MB.
    agent = ScriptedAgent(context, "far", respond_ok)
    agent.link.send_message(Claim(id=7, kind="http", name="far2", limits=ExchangeLimits(max_lifetime_s=1e9, idle_timeout_s=1e9)))
    time.sleep(0.3)
    request = b"GET / HTTP/1.1\r\nHost: far2.localhost\r\n\r\n"
    yield
    sockets = context.visitors(16, 8)
    found = context.push(sockets, request * 1000, context.size(60, 1))
    result = outcome(found, len(request), len(sockets))
    result.counts["requests"] = agent.requests
    return result


@attack("unread-replies", "Y1")
def unread_replies(context: AttackContext) -> Generator[None, None, Outcome]:
    """Thirty sessions request tickets and never read a reply."""
    links = [context.agent_link(number, f"n{number}") for number in range(context.size(30, 4))]
    request = framing.encode(msgspec.msgpack.encode({"t": "AskTicket", "id": 1}))
    wire = b"".join(data(CONTROL, request).wire for _ in range(500))
    yield
    return outcome(context.push([link.sock for link in links], wire, context.size(60, 1), read=False), len(request) + 12, len(links))


@attack("claims-come-and-go", "Y7", seconds=8.0)
def claims_come_and_go(context: AttackContext) -> Generator[None, None, Outcome]:
    """A session claims new names, and regularly that of the innocent tenant."""
    link = context.agent_link(0, "claims")
    yield
    granted = refused = crossed = 0
    number = 0
    while not context.over and number < context.size(1_000_000, 30):
        number += 1
        name = INNOCENT if number % 5 == 0 else f"claim-{number}"
        link.send_message(Claim(id=number, kind="http", name=name, takeover=True))
        response = link.receive(object)
        granted += isinstance(response, Granted)
        refused += isinstance(response, Refused)
        crossed += isinstance(response, Granted) and name == INNOCENT
    return Outcome("free" if crossed else "refused", crossed=crossed, counts={"granted": granted, "refused": refused})


@attack("idle-links", "X6", seconds=8.0, descriptors=256)
def idle_links(context: AttackContext) -> Generator[None, None, Outcome]:
    """Idle sessions of one token try to use up a server's 256 descriptors."""
    yield
    made = refused = 0
    while not context.over and made + refused < 250:
        try:
            context.agent_link(0, f"i{made}").sock.settimeout(5)
            made += 1
        except (OSError, LinkError, PortwayError):
            refused += 1
            if refused > 5:
                break
    time.sleep(min(context.left_s, context.size(60, 1)))
    return Outcome("refused" if refused else "slowed", counts={"links": made, "refused": refused})


@attack("deaf-agent", "Y3", seconds=8.0)
def deaf_agent(context: AttackContext) -> Generator[None, None, Outcome]:
    """Visitors upload to an agent that has stopped reading from its link."""
    agent = ScriptedAgent(context, "deaf", never_respond)
    head = b"POST / HTTP/1.1\r\nHost: deaf.localhost\r\nContent-Length: 1000000000\r\n\r\n"
    yield
    agent.stopped_reading.set()
    sockets = context.visitors(context.size(300, 20), 16, head)
    found = context.push(sockets, bytes(65536), context.size(60, 1))
    cut = len(found.cut_after_s)
    return Outcome("cut" if cut else "slowed", min(found.cut_after_s, default=None), counts={"bytes": found.bytes, "cut": cut})


@attack("resets-everything", "X1")
def resets_everything(context: AttackContext) -> Generator[None, None, Outcome]:
    """An agent that resets every stream, with visitors that keep sending requests."""

    def refuse(agent: ScriptedAgent, stream: int, head: bytes) -> None:
        agent.send(Frame(1, RST, stream))

    ScriptedAgent(context, "resets", refuse)
    request = b"GET / HTTP/1.1\r\nHost: resets.localhost\r\n\r\n"
    yield
    sockets = context.visitors(16, 8)
    return outcome(context.push(sockets, request * 100, context.size(60, 1)), len(request), len(sockets))


@attack("unasked-answer", "S6", seconds=10.0)
def unasked_answer(context: AttackContext) -> Generator[None, None, Outcome]:
    """An origin that sends an unsolicited second response, meant for the next visitor. It is there before the next request: a response
    that comes after it cannot be distinguished from the right one.
    """
    sent = threading.Event()

    def respond_twice(sock: socket.socket) -> None:
        number = 0
        while piece := sock.recv(65536):
            number += 1
            own = piece.split(b" ")[1]
            sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(own), own))
            time.sleep(0.01)
            sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nstolen")
            sent.set()

    with RawOrigin(respond_twice) as origin:
        _, host = context.agent("http", str(origin.port))
        yield
        crossed = rounds = 0
        for rounds in range(1, context.size(100, 10) + 1):
            own = b"/own%d" % rounds
            with contextlib.suppress(OSError), context.visitor(rounds % 8) as sock:
                sock.sendall(b"GET %b HTTP/1.1\r\nHost: %b\r\nConnection: close\r\n\r\n" % (own, host.encode()))
                crossed += b"stolen" in sock.recv(4096)
            sent.wait(1.0)
            sent.clear()
            time.sleep(0.1)  # for agent and server, on a busy machine
            if context.over:
                break
        return Outcome("free" if crossed else "refused", crossed=crossed, counts={"rounds": rounds})


def _hostile_origin(context: AttackContext, head: bytes, piece: bytes, count: int = 16) -> Generator[None, None, Outcome]:
    """Send requests repeatedly whose response never ends properly."""
    with RawOrigin(lambda sock: send_repeatedly(sock, head, piece)) as origin:
        _, host = context.agent("http", str(origin.port))
        request = b"GET / HTTP/1.1\r\nHost: %b\r\n\r\n" % host.encode()
        yield
        made = 0
        while not context.over and made < context.size(100_000, 2 * count):
            sockets = context.visitors(count, 8, request)
            made += len(sockets)
            read_all(context, sockets, 1, 1.0)
            for sock in sockets:
                sock.close()
        return Outcome("cut", counts={"requests": made})


@attack("interim-flood", "S6")
def interim_flood(context: AttackContext) -> Generator[None, None, Outcome]:
    """An origin that sends interim responses without end."""
    return _hostile_origin(context, b"", b"HTTP/1.1 103 Early Hints\r\n\r\n" * 1000)


@attack("endless-head", "S6")
def endless_head(context: AttackContext) -> Generator[None, None, Outcome]:
    """An origin whose response head never ends."""
    return _hostile_origin(context, b"HTTP/1.1 200 OK\r\n", b"A: b\r\n" * 2000)


@attack("endless-trailers", "S2")
def endless_trailers(context: AttackContext) -> Generator[None, None, Outcome]:
    """An origin whose trailers never end."""
    return _hostile_origin(context, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"A: b\r\n" * 2000)


@attack("speed-tests", "Y2", seconds=8.0)
def speed_tests(context: AttackContext) -> Generator[None, None, Outcome]:
    """A session requests one speed test after the other, with the maximum number of streams."""
    agent = ScriptedAgent(context, "speed", never_respond)
    yield
    number = 0
    while not context.over and not agent.lost:
        number += 1
        with contextlib.suppress(OSError):
            agent.send(data(CONTROL, encode_message(Measure(id=number, direction="down", streams=64, seconds=5.0))))
        time.sleep(0.2)
        if context.small and number > 3:
            break
    return Outcome("cut" if agent.lost else "slowed", counts={"asked": number}, note=agent.lost)


@attack("ticket-hoard", "Y5")
def ticket_hoard(context: AttackContext) -> Generator[None, None, Outcome]:
    """Ten sessions request tickets without using them."""
    links = [context.agent_link(number, f"t{number}") for number in range(context.size(10, 2))]
    yield
    got, number = 0, 0
    while not context.over and number < context.size(1_000_000, 30):
        number += 1
        for link in links:
            link.send_message(AskTicket(id=number))
        for link in links:
            link.receive(object)
            got += 1
    return Outcome("slowed", counts={"tickets": got})


@attack("bulk-down", "L1", seconds=8.0)
def bulk_down(context: AttackContext) -> Generator[None, None, Outcome]:
    """Eight visitors of another tenant download as fast as they can: not an attack, but a load."""
    with RawOrigin(
        lambda sock: send_repeatedly(sock, b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n", bytes(1 << 18))
    ) as origin:
        _, host = context.agent("http", str(origin.port))
        yield
        sockets = context.visitors(8, 8, b"GET / HTTP/1.1\r\nHost: %b\r\n\r\n" % host.encode())
        return read_all(context, sockets, 1, context.size(60, 1))


@attack("name-race", "Y7", seconds=8.0)
def name_race(context: AttackContext) -> Generator[None, None, Outcome]:
    """Eight agents with different identities claim the same name at the same time; exactly one may get it."""
    links = [context.agent_link(number, f"racer{number}") for number in range(8)]
    yield
    rounds = wrong = 0
    while not context.over and rounds < context.size(100_000, 20):
        rounds += 1
        for link in links:
            link.send_message(Claim(id=rounds, kind="http", name=f"race-{rounds}"))
        responses = [link.receive(object) for link in links]
        winners = [(link, response) for link, response in zip(links, responses, strict=True) if isinstance(response, Granted)]
        wrong += len(winners) != 1
        for link, response in winners:
            link.send_message(Release(id=rounds, tunnel=response.tunnel))
            link.receive(Released)
    return Outcome("free" if wrong else "refused", crossed=wrong, counts={"rounds": rounds})


@attack("flapping-agent", "Y7", seconds=8.0)
def flapping_agent(context: AttackContext) -> Generator[None, None, Outcome]:
    """An agent that reconnects several times a second while visitors wait for it."""
    yield
    rounds = 0
    while not context.over and rounds < context.size(1000, 4):
        rounds += 1
        agent = ScriptedAgent(context, "flap", respond_ok)
        context.visitors(4, 4, b"GET / HTTP/1.1\r\nHost: flap.localhost\r\n\r\n")
        agent.drop_link()
        context.visitors(4, 4, b"GET / HTTP/1.1\r\nHost: flap.localhost\r\n\r\n")
    return Outcome("slowed", counts={"rounds": rounds})


@attack("tcp-connects-and-resets", "X1")
def tcp_connects_and_resets(context: AttackContext) -> Generator[None, None, Outcome]:
    """Connections to a tcp tunnel that are reset at once, while its origin accepts each of them."""
    with RawOrigin(read_and_discard) as origin:
        port = context.tcp_agent(origin.port)
        linger = struct.pack("ii", 1, 0)
        yield
        made = 0
        while not context.over and made < context.size(1_000_000, 100):
            with contextlib.suppress(OSError), context.visitor(made % 8, port=port) as sock:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            made += 1
        return Outcome("slowed", counts={"connections": made, "at_the_origin": origin.accepted})


@attack("silent-tcp-visitors", "X6", seconds=8.0, descriptors=1024)
def silent_tcp_visitors(context: AttackContext) -> Generator[None, None, Outcome]:
    """Idle visitors of one tcp tunnel try to use up the visitor capacity."""
    with RawOrigin(read_and_discard) as origin:
        port = context.tcp_agent(origin.port)
        yield
        wanted = context.size(1200, 600)
        sockets = context.visitors(wanted, 64, port=port)
        gone = wanted - len(sockets) + len(context.watch(sockets, context.size(60.0, 3.0)))
        return Outcome("refused" if gone else "free", counts={"held": wanted - gone, "refused": gone})
