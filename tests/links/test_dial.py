"""Dialling a link: verified before use, and a reason for every failure."""

import asyncio
import random
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from portway.engine.channel import Channel
from portway.engine.tls_channel import TlsChannel
from portway.errors import RefusedError, UnavailableError
from portway.links.dial import dial
from portway.links.happy_eyeballs import NumericAddress, connect_first
from portway.links.sockets import UNSENT_BYTES_MAX
from portway.links.tls import ALPN, AgentTls, agent_tls
from tests.kit.certificates import Identity, make_identity
from tests.kit.loops import EngineLoop
from tests.kit.sockets import free_port, open_descriptors, reset
from tests.links.kit import context_of, delivers, in_a_thread, moments, open_listener, pinned


def refusal_of(engine: EngineLoop, port: int, tls: AgentTls | None, *, host: str = "127.0.0.1", timeout_s: float = 5.0) -> str:
    """Dial, which must fail; return the reason, and check that nothing is left open."""
    watched = len(engine.reactor._handlers)
    with pytest.raises(UnavailableError) as failure:
        engine.run(dial(engine.reactor, host, port, tls, timeout_s))
    engine.settle()
    assert len(engine.reactor._handlers) <= watched
    return str(failure.value)


def not_this_one(engine: EngineLoop, port: int, tls: AgentTls) -> RefusedError:
    """Dial a server whose certificate is not accepted; check that nothing is left open."""
    watched = len(engine.reactor._handlers)
    with pytest.raises(RefusedError) as refusal:
        engine.run(dial(engine.reactor, "127.0.0.1", port, tls, 5.0))
    engine.settle()
    assert len(engine.reactor._handlers) <= watched
    assert refusal.value.code == "wrong_certificate"
    return refusal.value


@contextmanager
def deaf() -> Iterator[NumericAddress]:
    """Give an address that answers no SYN: its backlog is full, and the kernel drops the rest."""
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        yield socket.AF_INET, full.getsockname()
        for filler in fillers:
            filler.close()


def refusing() -> NumericAddress:
    """Return an address without a listener."""
    return socket.AF_INET, ("127.0.0.1", free_port())


# Verification.


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_the_pinned_server_is_known_again(engine: EngineLoop, identity: Identity, version: ssl.TLSVersion) -> None:
    tls = pinned(identity)
    tls.context.maximum_version = version
    with open_listener(engine, context_of(identity)) as listener:
        link = listener.dial(tls)
        assert isinstance(link, TlsChannel)
        assert link.peer_certificate_der() == identity.der
        assert link._sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT) == UNSENT_BYTES_MAX
        assert delivers(engine, link, listener.links[0], b"hello")
        link.close()


def test_a_pin_needs_neither_a_name_nor_a_date(engine: EngineLoop, tmp_path: Path) -> None:
    expired = make_identity(tmp_path, "another.example.org", days=0)
    with open_listener(engine, context_of(expired)) as listener:
        listener.dial(pinned(expired)).close()


def test_a_man_in_the_middle_with_another_certificate_gets_no_data(engine: EngineLoop, identity: Identity, tmp_path: Path) -> None:
    middle = make_identity(tmp_path, "127.0.0.1")
    heard = bytearray()
    told: list[str] = []

    def listen_in(sock: socket.socket) -> None:
        try:
            with context_of(middle).wrap_socket(sock, server_side=True, suppress_ragged_eofs=False) as tls:
                heard.extend(tls.recv(100))
        except OSError as exc:
            told.append(str(exc))

    with in_a_thread(listen_in) as port:
        with pytest.raises(RefusedError) as refusal:
            engine.run(dial(engine.reactor, "127.0.0.1", port, pinned(identity)))
        engine.settle()
        assert not engine.reactor._handlers
    assert refusal.value.code == "wrong_pin"
    assert refusal.value.exit_code == 3
    assert middle.pin in refusal.value.reason
    assert identity.pin in refusal.value.reason
    assert "join string" in refusal.value.next_step
    assert not heard
    assert told, "a break, not an end"


@pytest.mark.parametrize("names", [("localhost",), ("127.0.0.1", "localhost")])
def test_a_server_that_the_ca_vouches_for_is_taken(engine: EngineLoop, tmp_path: Path, names: tuple[str, ...]) -> None:
    authority = make_identity(tmp_path, "Test CA", authority=True)
    server = make_identity(tmp_path, *names, signed_by=authority)
    with open_listener(engine, context_of(server)) as listener:
        link = listener.dial(agent_tls(names[0], None, str(authority.cert_file)))
        assert delivers(engine, link, listener.links[0], b"hello")
        link.close()


@pytest.mark.parametrize(
    ("fault", "reason", "alert"),
    [
        ("another name", "certificate not accepted: Hostname mismatch, certificate is not valid for 'localhost'", "certificate"),
        ("another authority", "certificate not accepted: unable to get local issuer certificate", "unknown ca"),
        ("self-signed", "certificate not accepted: self-signed certificate", "unknown ca"),
        ("expired", "certificate not accepted: certificate has expired", "certificate expired"),
        ("issued by a server", "certificate not accepted: invalid CA certificate", "alert"),
    ],
)
def test_a_certificate_that_the_ca_does_not_verify_is_refused_and_the_server_gets_the_reason(
    engine: EngineLoop, tmp_path: Path, fault: str, reason: str, alert: str
) -> None:
    authority = make_identity(tmp_path, "Test CA", authority=True)
    trusted = authority
    match fault:
        case "another name":
            server = make_identity(tmp_path, "other.example.org", signed_by=authority)
        case "another authority":
            server = make_identity(tmp_path, "localhost", signed_by=make_identity(tmp_path, "Other CA", authority=True))
        case "self-signed":
            server = make_identity(tmp_path, "localhost")
        case "expired":
            server = make_identity(tmp_path, "localhost", signed_by=authority, days=0)
        case _:
            trusted = make_identity(tmp_path, "no authority.example.org")
            server = make_identity(tmp_path, "localhost", signed_by=trusted)
    with open_listener(engine, context_of(server)) as listener:
        refused = not_this_one(engine, listener.port, agent_tls("localhost", None, str(trusted.cert_file)))
        assert reason in refused.reason
        assert "--ca-file" in refused.next_step
        assert alert in listener.failure()
        assert not listener.links


def test_the_systems_authorities_do_not_know_a_self_made_certificate(engine: EngineLoop, identity: Identity) -> None:
    with open_listener(engine, context_of(identity)) as listener:
        assert "certificate not accepted" in not_this_one(engine, listener.port, agent_tls("localhost", None)).reason


# Peers that are not servers.


def test_a_web_server_with_the_right_certificate_is_not_a_portway_server(engine: EngineLoop, identity: Identity) -> None:
    with open_listener(engine, identity.server_context()) as listener:
        reason = refusal_of(engine, listener.port, pinned(identity))
        assert reason == f"the peer is not a Portway server (ALPN None, expected {ALPN!r})"
        assert listener.failure() == f"ALPN None instead of {ALPN!r}: not an agent"


@pytest.mark.parametrize(
    ("greeting", "reason"),
    [
        (b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n", "wrong version number"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "wrong version number"),
        (b"\x00\x02\x00\x01\x00\x00\x00\x00\x00\x00\x00\x01", "wrong version number"),  # yamux: a server with --plaintext-links
        (random.Random(4).randbytes(2000), "TLS handshake failed"),
        (b"", "the connection ended"),
    ],
)
def test_a_server_without_tls_is_named(engine: EngineLoop, identity: Identity, greeting: bytes, reason: str) -> None:
    def speak(sock: socket.socket) -> None:
        sock.recv(65536)
        sock.sendall(greeting)
        sock.shutdown(socket.SHUT_WR)
        sock.recv(65536)

    with in_a_thread(speak) as port:
        reason_given = refusal_of(engine, port, pinned(identity))
    assert reason_given.startswith("cannot establish TLS: ")
    assert reason in reason_given


def test_a_server_that_resets_within_the_handshake_is_named(engine: EngineLoop, identity: Identity) -> None:
    def hang_up(sock: socket.socket) -> None:
        sock.recv(100)
        reset(sock)

    with in_a_thread(hang_up) as port:
        assert "cannot establish TLS" in refusal_of(engine, port, pinned(identity))


# Names, addresses, time.


def test_an_unknown_name_is_reported(engine: EngineLoop) -> None:
    assert refusal_of(engine, 1, None, host="no-such-host.invalid").startswith("cannot resolve the name no-such-host.invalid: ")


@pytest.mark.parametrize("host", ["a..example.org", "a" * 64 + ".example.org"])
def test_a_name_that_cannot_be_resolved_is_reported(engine: EngineLoop, host: str) -> None:
    assert refusal_of(engine, 1, None, host=host).startswith(f"cannot resolve the name {host}: ")


def test_a_port_without_a_listener_is_reported(engine: EngineLoop, identity: Identity) -> None:
    before = open_descriptors()
    _, (_, port) = refusing()
    assert refusal_of(engine, port, pinned(identity)) == f"cannot connect to 127.0.0.1:{port} (127.0.0.1: connection refused)"
    assert open_descriptors() <= before + 1, "one for the resolver's thread at most"


def test_an_ipv6_address_is_in_brackets(engine: EngineLoop) -> None:
    _, (_, port) = refusing()
    assert refusal_of(engine, port, None, host="::1").startswith(f"cannot connect to [::1]:{port} (::1: ")


def test_links_work_over_ipv6(engine: EngineLoop, identity: Identity) -> None:
    with open_listener(engine, context_of(identity), host="::1") as listener:
        link = engine.run(dial(engine.reactor, "::1", listener.port, pinned(identity)))
        engine.run_until(lambda: len(listener.links) == 1)
        assert listener.peers[0][0] == "::1"
        link.close()


def test_the_next_address_is_tried_when_one_refuses(engine: EngineLoop) -> None:
    with open_listener(engine, None) as listener:
        addresses = [refusing(), (socket.AF_INET6, ("::1", listener.port)), (socket.AF_INET, ("127.0.0.1", listener.port))]
        sock = engine.run(connect_first(engine.reactor, addresses, 5))
        assert sock.getpeername() == ("127.0.0.1", listener.port)
        engine.reactor.discard(sock)


def test_an_address_that_does_not_answer_takes_no_more_than_its_share_of_the_time(engine: EngineLoop) -> None:
    with open_listener(engine, None) as listener, deaf() as dead:
        before = open_descriptors()
        sock = engine.run(connect_first(engine.reactor, [dead, (socket.AF_INET, ("127.0.0.1", listener.port))], 1.0), deadline_s=1.0)
        assert sock.getpeername() == ("127.0.0.1", listener.port)
        engine.run_until(lambda: bool(listener.links))
        engine.reactor.discard(sock)
        engine.settle()
        assert open_descriptors() == before + 1, "what is left is the door's end"


def test_when_no_address_responds_each_reason_is_reported(engine: EngineLoop) -> None:
    with deaf() as dead:
        before = open_descriptors()
        with pytest.raises(UnavailableError, match=r"^127\.0\.0\.1: connection refused; 127\.0\.0\.1: connection timed out$"):
            engine.run(connect_first(engine.reactor, [refusing(), dead], 0.4))
        engine.settle()
        assert open_descriptors() == before


def test_a_network_that_swallows_everything_costs_the_timeout_and_no_more(engine: EngineLoop, identity: Identity) -> None:
    with deaf() as (_, (host, port)):
        before = open_descriptors()
        reason = refusal_of(engine, port, pinned(identity), host=host, timeout_s=0.3)
        assert "did not respond within 0.3 s" in reason or "timed out" in reason
        assert open_descriptors() <= before + 1


@pytest.mark.parametrize("first", [b"", b"\x16\x03\x03\x00\x7a\x02\x00\x00\x76"])
def test_a_server_that_stops_within_the_handshake_costs_the_timeout_and_no_more(
    engine: EngineLoop, identity: Identity, first: bytes
) -> None:
    ended: list[bytes] = []

    def stop(sock: socket.socket) -> None:
        sock.sendall(first)
        try:
            while sock.recv(65536):
                pass
        except ConnectionResetError:
            ended.append(b"reset")

    with in_a_thread(stop) as port:
        assert refusal_of(engine, port, pinned(identity), timeout_s=0.3) == f"127.0.0.1:{port} did not respond within 0.3 s"
    assert ended == [b"reset"]


# Cancellation.


@pytest.mark.parametrize("encrypted", [True, False])
def test_a_dial_cancelled_at_any_moment_leaves_nothing_behind(engine: EngineLoop, identity: Identity, encrypted: bool) -> None:
    cancelled = 0

    async def change_ones_mind(port: int, after: int) -> Channel | None:
        task = asyncio.get_running_loop().create_task(dial(engine.reactor, "127.0.0.1", port, pinned(identity) if encrypted else None))
        await moments(after)
        task.cancel()
        await asyncio.wait({task})
        return None if task.cancelled() else task.result()

    with open_listener(engine, context_of(identity) if encrypted else None) as listener:
        for after in range(60):
            before, watched = open_descriptors(), len(engine.reactor._handlers)
            link = engine.run(change_ones_mind(listener.port, after))
            if link is None:
                cancelled += 1
            else:
                link.abort()
            engine.settle()
            for end in listener.links:
                end.abort()
            engine.settle()
            assert not listener.listener._handshakes
            assert open_descriptors() <= before + 1, f"cancelled after {after} moments"  # a resolver's thread may have started
            assert len(engine.reactor._handlers) == watched, f"cancelled after {after} moments"
    assert 0 < cancelled < 60, "both must have happened"


def test_a_connection_that_succeeds_after_cancellation_is_dropped(engine: EngineLoop) -> None:
    cancelled = 0

    async def change_ones_mind(address: NumericAddress, after: int) -> socket.socket | None:
        task = asyncio.get_running_loop().create_task(connect_first(engine.reactor, [address], 5))
        await moments(after)
        task.cancel()
        await asyncio.wait({task})
        return None if task.cancelled() else task.result()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        for after in range(12):
            before = open_descriptors()
            sock = engine.run(change_ones_mind((socket.AF_INET, listener.getsockname()), after))
            if sock is None:
                cancelled += 1
            else:
                engine.reactor.discard(sock)
            engine.settle()
            assert open_descriptors() == before, f"cancelled after {after} moments"
            assert not engine.reactor._handlers, f"cancelled after {after} moments"
    assert 3 <= cancelled < 12, "before it began, under way, and in the very moment in which it connected"
