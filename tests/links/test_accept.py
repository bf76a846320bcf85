"""Accepting links: verified links, refusals with a reason, and no peer that delays another."""

import random
import socket
import ssl
import time
import warnings

import pytest

from portway.engine.channel import Channel
from portway.engine.listener import Address, listen
from portway.engine.socket_channel import SocketChannel
from portway.engine.tls_channel import TlsChannel
from portway.links.accept import KNOWN_WEIGHT, HandshakeLimits, LinkListener
from portway.links.sockets import UNSENT_BYTES_MAX
from portway.links.tls import ALPN, AgentTls, agent_tls
from tests.kit.certificates import Identity
from tests.kit.loops import EngineLoop
from tests.kit.sockets import DEADLINE_S, open_descriptors, reset
from tests.links.kit import REQUEST, broke, context_of, delivers, open_listener, pinned, read_until_end

HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"
"""A record of 512 bytes that begins with a ClientHello: more has to follow."""


def offering(identity: Identity, *protocols: str) -> AgentTls:
    """Return an agent's TLS that offers other protocols, or none."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(identity.cert_file)
    if protocols:
        context.set_alpn_protocols(list(protocols))
    return AgentTls(context, None, "localhost")


def client_handshake(engine: EngineLoop, port: int, tls: AgentTls) -> tuple[TlsChannel, str]:
    """Handshake as a client that ignores ALPN; return the channel and the failure, empty if there was none."""
    sock = socket.create_connection(("127.0.0.1", port))
    sock.setblocking(False)
    channel = TlsChannel(engine.reactor, sock, tls.context, server_side=False, server_hostname=tls.server_name or None)
    outcomes: list[str] = []
    channel.handshake(lambda failure: outcomes.append("" if failure is None else str(failure)))
    engine.run_until(lambda: bool(outcomes), what="the client's handshake")
    return channel, outcomes[0]


def test_an_encrypted_link_has_its_peers_address_and_carries_both_directions(engine: EngineLoop, identity: Identity) -> None:
    with open_listener(engine, context_of(identity)) as listener:
        link = listener.dial(pinned(identity))
        assert isinstance(link, TlsChannel)
        assert isinstance(listener.links[0], TlsChannel)
        assert (link.alpn, listener.links[0].alpn) == (ALPN, ALPN)
        assert listener.peers == [link._sock.getsockname()]
        assert listener.links[0]._sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT) == UNSENT_BYTES_MAX
        assert delivers(engine, link, listener.links[0], random.Random(1).randbytes(20_000))
        assert delivers(engine, listener.links[0], link, random.Random(2).randbytes(20_000))
        assert not listener.failures
        link.close()


def test_a_plain_link_is_a_link_at_once(engine: EngineLoop) -> None:
    with open_listener(engine, None) as listener:
        link = listener.dial(None)
        assert isinstance(link, SocketChannel)
        assert isinstance(listener.links[0], SocketChannel)
        assert delivers(engine, link, listener.links[0], b"hello")
        assert delivers(engine, listener.links[0], link, b"hello yourself")
        link.close()


@pytest.mark.parametrize("protocols", [(), ("h2", "http/1.1"), ("portway/2",)])
def test_a_peer_without_the_links_alpn_is_not_an_agent(engine: EngineLoop, identity: Identity, protocols: tuple[str, ...]) -> None:
    with open_listener(engine, context_of(identity)) as listener:
        link, failure = client_handshake(engine, listener.port, offering(identity, *protocols))
        assert not failure
        assert listener.failure() == "ALPN None instead of 'portway/1': not an agent"
        assert not listener.links
        assert "reset" in broke(engine, link)
        link.close()


def test_old_tls_is_refused_with_a_reason_on_both_ends(engine: EngineLoop, identity: Identity) -> None:
    tls = offering(identity, ALPN)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        tls.context.minimum_version = ssl.TLSVersion.TLSv1
        tls.context.maximum_version = ssl.TLSVersion.TLSv1_1
    tls.context.set_ciphers("ALL:@SECLEVEL=0")
    with open_listener(engine, context_of(identity)) as listener:
        link, failure = client_handshake(engine, listener.port, tls)
        assert failure == "TLS handshake failed: tlsv1 alert protocol version"
        assert listener.failure() == "TLS handshake failed: unsupported protocol"
        assert not listener.links
        link.close()


def test_tls_1_2_is_good_enough(engine: EngineLoop, identity: Identity) -> None:
    tls = pinned(identity)
    tls.context.maximum_version = ssl.TLSVersion.TLSv1_2
    with open_listener(engine, context_of(identity)) as listener:
        link = listener.dial(tls)
        assert delivers(engine, link, listener.links[0], b"hello")
        link.close()


def test_the_listener_gets_the_reason_why_an_agent_does_not_trust_it(engine: EngineLoop, identity: Identity, tmp_path: object) -> None:
    tls = agent_tls("example.org", None, str(identity.cert_file))
    with open_listener(engine, context_of(identity)) as listener:
        link, failure = client_handshake(engine, listener.port, tls)
        link.abort()
        assert "example.org" in failure
        assert "alert" in listener.failure()
        assert "certificate" in listener.failure()
        assert not listener.links


@pytest.mark.parametrize(
    ("greeting", "reason"),
    [
        (REQUEST, "http request"),
        (b"CONNECT example.org:443 HTTP/1.1\r\n\r\n", "https proxy request"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "wrong version number"),
        (b"\x00" * 100, "TLS handshake failed"),
        (b"\x00\x00\x00\x01\x00\x00\x00\x01\x00\x00\x00\x00", "TLS handshake failed"),  # yamux: an agent with --plaintext-links
        (random.Random(3).randbytes(5000), "TLS handshake failed"),
        (HELLO.ljust(517, b"\xff"), "TLS handshake failed"),
        (b"\x16\x03\x01\xff\xff" + bytes(70_000), "TLS handshake failed"),
    ],
)
def test_bytes_that_are_not_a_client_hello_are_refused_at_once_and_named(
    engine: EngineLoop, identity: Identity, greeting: bytes, reason: str
) -> None:
    before = open_descriptors()
    with open_listener(engine, context_of(identity)) as listener:
        client = listener.connect_raw(greeting)
        assert reason in listener.failure(deadline_s=1)
        assert listener.failed_peers == [client.getsockname()]
        engine.settle()
        answer = read_until_end(client)
        assert answer is None or len(answer) <= 7, "an alert at most"
        link = listener.dial(pinned(identity))
        link.close()
        assert len(listener.links) == 1
        assert len(listener.failures) == 1
    assert open_descriptors() == before


def test_an_http_client_receives_an_end_and_not_a_reset(engine: EngineLoop, identity: Identity) -> None:
    with open_listener(engine, context_of(identity)) as listener:
        assert read_until_end(listener.connect_raw(REQUEST)) is not None


@pytest.mark.parametrize("first", [b"", HELLO[:1], HELLO, HELLO.ljust(300, b"\0")])
@pytest.mark.parametrize("rudely", [False, True])
def test_a_peer_that_closes_during_the_handshake_is_released(engine: EngineLoop, identity: Identity, first: bytes, rudely: bool) -> None:
    before = open_descriptors()
    with open_listener(engine, context_of(identity), HandshakeLimits(under_way_max=1)) as listener:
        client = listener.connect_raw(first)
        assert not listener.failures
        if rudely:
            reset(client)
        else:
            client.close()
        assert listener.failure(deadline_s=1)
        link = listener.dial(pinned(identity))  # its slot is free again
        link.close()
    assert open_descriptors() == before


def test_a_silent_peer_delays_no_other_and_is_closed_in_time(engine: EngineLoop, identity: Identity) -> None:
    with open_listener(engine, context_of(identity), HandshakeLimits(seconds_max=0.4)) as listener:
        began = time.monotonic()
        silent = listener.connect_raw()
        halfway = listener.connect_raw(HELLO)
        link = listener.dial(pinned(identity))
        assert delivers(engine, link, listener.links[0], b"nobody is in my way")
        assert not listener.failures, "the others were still at it meanwhile"
        assert listener.failure(2) == "no TLS handshake within 0.4 s"
        assert 0.4 <= time.monotonic() - began < 2
        engine.settle()
        assert read_until_end(silent) is None
        assert read_until_end(halfway) is None
        assert delivers(engine, link, listener.links[0], b"and I am still there")
        link.close()


def test_one_byte_at_a_time_does_not_move_the_deadline(engine: EngineLoop, identity: Identity) -> None:
    with open_listener(engine, context_of(identity), HandshakeLimits(seconds_max=0.5)) as listener:
        client = listener.connect_raw()
        hello = iter(HELLO.ljust(517, b"\0"))
        began = time.monotonic()
        sent = 0

        def drip() -> None:
            nonlocal sent
            if not listener.failures:
                sent += client.send(bytes([next(hello)]))
                engine.reactor.call_later(0.02, drip)

        drip()
        assert "within 0.5 s" in listener.failure()
        assert time.monotonic() - began < 2
        assert 1 < sent < 100


def test_handshakes_are_bounded_and_slots_become_free(engine: EngineLoop, identity: Identity) -> None:
    with open_listener(engine, context_of(identity), HandshakeLimits(under_way_max=3, seconds_max=0.5)) as listener:
        waiting = [listener.connect_raw(HELLO) for _ in range(3)]
        late = [listener.connect_raw(), listener.connect_raw(REQUEST)]
        assert listener.failures == ["too many pending handshakes: all 3 slots are in use, 3 of them by 127.0.0.1"] * 2
        assert listener.failed_peers == [client.getsockname() for client in late]
        assert not read_until_end(late[0])
        waiting[0].close()
        listener.failure(3)
        link = listener.dial(pinned(identity))
        link.close()
        again = listener.dial(pinned(identity))  # a place is given back after success too
        again.close()
        listener.failure(5)
        assert listener.failures[3:] == ["no TLS handshake within 0.5 s"] * 2


@pytest.mark.parametrize("first", [b"", HELLO], ids=["nothing", "half a ClientHello"])
def test_sources_that_hold_all_slots_exclude_no_agent(engine: EngineLoop, identity: Identity, first: bytes) -> None:
    with open_listener(engine, context_of(identity), HandshakeLimits(under_way_max=20)) as listener:
        crowd = [listener.connect_raw(first, f"127.0.0.{2 + number % 5}") for number in range(30)]
        assert len(listener.failures) == 10, "nobody may hold more than all"
        link = listener.dial(pinned(identity))
        assert delivers(engine, link, listener.links[0], b"in at the first try")
        assert listener.failures[10:] == ["replaced by a handshake from another source"]
        assert read_until_end(next(client for client in crowd if client.getsockname() == listener.failed_peers[10])) is None
        link.close()


def test_handshakes_begin_one_source_after_the_other(engine: EngineLoop, identity: Identity) -> None:
    with open_listener(engine, context_of(identity)) as listener:
        clients = [
            socket.create_connection(listener.listener.address, DEADLINE_S, (f"127.0.0.{source}", 0)) for source in [2] * 40 + [3] * 3
        ]
        for client in clients:
            client.sendall(REQUEST)
        listener.failure(43)
        places = [number for number, (host, _) in enumerate(listener.failed_peers) if host == "127.0.0.3"]
        assert max(places) < 20, "not behind all of the other one's"
        for client in clients:
            client.close()


def test_a_source_with_an_earlier_login_gets_more_cpu_time(engine: EngineLoop, identity: Identity) -> None:
    with open_listener(engine, context_of(identity)) as listener:
        listener.sources.logged_in("127.0.0.2", engine.reactor.refresh_now())
        weights = {source: listener.listener.accounts.of(source).weight for source in ("127.0.0.2", "127.0.0.3")}
        assert weights == {"127.0.0.2": KNOWN_WEIGHT, "127.0.0.3": 1.0}


def test_nothing_is_remembered_of_closed_peers(engine: EngineLoop, identity: Identity) -> None:
    with open_listener(engine, context_of(identity), HandshakeLimits(under_way_max=2)) as listener:
        for number in range(2, 6):
            listener.connect_raw(source=f"127.0.0.{number}").close()
            listener.connect_raw(REQUEST, source=f"127.0.1.{number}")
        listener.failure(8)
        link = listener.dial(pinned(identity))
        link.close()
        assert not listener.listener._handshakes._shares
        assert not listener.listener._under_way
        assert set(listener.listener.accounts._accounts) <= {"127.0.0.1"}, "the one of the link that is still held here"


def test_closing_the_door_breaks_off_handshakes_and_leaves_links_alone(engine: EngineLoop, identity: Identity) -> None:
    before = open_descriptors()
    with open_listener(engine, context_of(identity)) as listener:
        link = listener.dial(pinned(identity))
        clients = [listener.connect_raw(), listener.connect_raw(HELLO)]
        listener.listener.close()
        engine.settle()
        assert listener.failures == ["aborted"] * 2
        assert [read_until_end(client) for client in clients] == [None, None]
        assert delivers(engine, link, listener.links[0], b"still there")
        assert delivers(engine, listener.links[0], link, b"still here")
        listener.listener.close()
        link.close()
    assert open_descriptors() == before


def test_a_bug_behind_one_link_costs_that_link_and_no_other(engine: EngineLoop, identity: Identity) -> None:
    engine.tolerant = True
    taken: list[Channel] = []

    def moody(link: Channel, address: Address) -> None:
        taken.append(link)
        if len(taken) == 1:
            raise RuntimeError("a bug")

    listener = LinkListener(engine.reactor, listen("127.0.0.1", 0), context_of(identity), moody)
    first, failure = client_handshake(engine, listener.address[1], pinned(identity))
    assert not failure
    assert "reset" in broke(engine, first)
    second, _ = client_handshake(engine, listener.address[1], pinned(identity))
    engine.run_until(lambda: len(taken) == 2)
    assert delivers(engine, second, taken[1], b"hello")
    assert engine.logged_errors == 1
    for channel in (first, second, *taken):
        channel.close()
    listener.close()
    engine.settle()


def test_a_burst_of_agents_gets_in(engine: EngineLoop, identity: Identity) -> None:
    with open_listener(engine, context_of(identity)) as listener:
        agents = []
        for _ in range(60):
            sock = socket.create_connection(("127.0.0.1", listener.port))
            sock.setblocking(False)
            agents.append(TlsChannel(engine.reactor, sock, pinned(identity).context, server_side=False))
            agents[-1].handshake(lambda failure: None)
        engine.run_until(lambda: len(listener.links) == 60, deadline_s=20)
        assert not listener.failures
        for agent in agents:
            agent.close()
