"""Connecting in the reactor: once, in time, never from inside the call, and nothing left behind."""

import errno
import socket
from pathlib import Path

import pytest

from portway.engine.connect import connect
from portway.engine.keepalive import KEEPALIVE
from portway.engine.socket_channel import SocketChannel
from tests.kit.loops import EngineLoop
from tests.kit.probe import Probe
from tests.kit.sockets import free_port, open_descriptors, tcp_listener

Outcome = socket.socket | OSError


def socket_of(outcome: Outcome) -> socket.socket:
    assert isinstance(outcome, socket.socket), outcome
    return outcome


def error_of(outcome: Outcome) -> OSError:
    assert isinstance(outcome, OSError), outcome
    return outcome


def test_the_socket_is_connected_non_blocking_and_has_no_delay_and_keep_alive(engine: EngineLoop) -> None:
    outcomes: list[Outcome] = []
    with tcp_listener() as listener:
        connect(engine.reactor, socket.AF_INET, listener.getsockname(), 5, outcomes.append)
        assert not outcomes, "called back from inside the call"
        engine.run_until(lambda: bool(outcomes))
        sock = socket_of(outcomes[0])
        assert sock.getpeername() == listener.getsockname()
        assert sock.gettimeout() == 0
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        for option, value in KEEPALIVE.items():
            assert sock.getsockopt(socket.IPPROTO_TCP, getattr(socket, option)) == value
        engine.settle()
        assert len(outcomes) == 1
        engine.reactor.discard(sock)
        engine.settle()


def test_a_refused_connection_is_reported_as_such(engine: EngineLoop) -> None:
    outcomes: list[Outcome] = []
    before = open_descriptors()
    connect(engine.reactor, socket.AF_INET, ("127.0.0.1", free_port()), 5, outcomes.append)
    engine.run_until(lambda: bool(outcomes))
    assert error_of(outcomes[0]).errno == errno.ECONNREFUSED
    engine.settle()
    assert open_descriptors() == before


def test_a_silent_peer_costs_the_timeout_and_no_more(engine: EngineLoop) -> None:
    outcomes: list[Outcome] = []
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:  # the backlog is full after one or two: the kernel then drops every SYN
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        before = open_descriptors()
        connect(engine.reactor, socket.AF_INET, full.getsockname(), 0.2, outcomes.append)
        engine.run_until(lambda: bool(outcomes), deadline_s=3)
        assert error_of(outcomes[0]).errno == errno.ETIMEDOUT
        engine.settle()
        assert open_descriptors() == before
        for filler in fillers:
            filler.close()


def test_a_cancelled_attempt_never_calls_back(engine: EngineLoop) -> None:
    outcomes: list[Outcome] = []
    before = open_descriptors()
    with tcp_listener() as listener:
        attempt = connect(engine.reactor, socket.AF_INET, listener.getsockname(), 0.05, outcomes.append)
        assert attempt is not None
        attempt.cancel()
        attempt.cancel()
        engine.settle()
        done: list[bool] = []
        engine.reactor.call_later(0.2, lambda: done.append(True))
        engine.run_until(lambda: bool(done))
    assert not outcomes
    assert open_descriptors() == before


def test_unix_sockets_connect_too(engine: EngineLoop, tmp_path: Path) -> None:
    path = str(tmp_path / "origin")
    outcomes: list[Outcome] = []
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        connect(engine.reactor, socket.AF_UNIX, path, 5, outcomes.append)
        assert not outcomes
        engine.run_until(lambda: bool(outcomes))
        assert socket_of(outcomes[0]).getpeername() == path
        engine.reactor.discard(socket_of(outcomes[0]))
        engine.settle()


@pytest.mark.parametrize("path", ["missing", "much-too-long-" * 20])
def test_a_bad_unix_path_is_reported_later(engine: EngineLoop, tmp_path: Path, path: str) -> None:
    outcomes: list[Outcome] = []
    before = open_descriptors()
    connect(engine.reactor, socket.AF_UNIX, str(tmp_path / path), 5, outcomes.append)
    assert not outcomes, "called back from inside the call"
    engine.settle()
    error_of(outcomes[0])
    assert len(outcomes) == 1
    assert open_descriptors() == before


def test_an_unusable_address_is_reported_later(engine: EngineLoop) -> None:
    outcomes: list[Outcome] = []
    connect(engine.reactor, socket.AF_INET, ("255.255.255.255", 9), 5, outcomes.append)
    assert not outcomes
    engine.run_until(lambda: bool(outcomes))
    error_of(outcomes[0])


def test_a_host_name_is_an_error_and_not_a_lookup(engine: EngineLoop) -> None:
    outcomes: list[Outcome] = []
    connect(engine.reactor, socket.AF_INET, ("no-such-host.invalid", 80), 5, outcomes.append)
    engine.settle()
    error_of(outcomes[0])


def test_a_peer_that_sends_and_closes_before_the_first_read_is_read_to_the_end(engine: EngineLoop) -> None:
    outcomes: list[Outcome] = []
    with tcp_listener() as listener:
        connect(engine.reactor, socket.AF_INET, listener.getsockname(), 5, outcomes.append)
        accepted, _ = listener.accept()
        accepted.sendall(b"220 come back tomorrow\r\n")
        accepted.close()
        engine.run_until(lambda: bool(outcomes))
        engine.settle()
        probe = Probe(SocketChannel(engine.reactor, socket_of(outcomes[0]))).read()
        engine.run_until(lambda: probe.ended, deadline_s=2)
        assert probe.received == b"220 come back tomorrow\r\n"
        probe.close()
        engine.settle()


@pytest.mark.parametrize("when", ["before the channel", "with the channel", "later"])
def test_the_first_bytes_and_the_end_are_read_whenever_they_arrive(engine: EngineLoop, when: str) -> None:
    """The channel of a socket that is only connected gets no first event; what arrives later must cause one."""
    readers: list[Probe] = []
    peers: list[socket.socket] = []

    def speak() -> None:
        peers[0].sendall(b"hello")
        peers[0].close()

    with tcp_listener() as listener:

        def connected(outcome: Outcome) -> None:
            channel = SocketChannel(engine.reactor, socket_of(outcome))
            if when == "with the channel":
                speak()
            readers.append(Probe(channel).read())

        connect(engine.reactor, socket.AF_INET, listener.getsockname(), 5, connected)
        peers.append(listener.accept()[0])
        if when == "before the channel":
            speak()
        engine.run_until(lambda: bool(readers))
        engine.settle()
        if when == "later":
            assert not readers[0].callbacks, "an event although nothing has arrived"
            speak()
        engine.run_until(lambda: readers[0].ended)
        assert readers[0].received == b"hello"
        readers[0].feed(b"x").close()
        engine.settle()


def test_the_handler_of_a_number_is_passed_on_once(engine: EngineLoop) -> None:
    """Another socket with that number is watched like any other."""
    channels: list[SocketChannel] = []
    with tcp_listener() as listener:

        def connected(outcome: Outcome) -> None:
            sock = socket_of(outcome)
            number = sock.fileno()
            engine.reactor.unwatch(number)
            sock.close()
            near = socket.create_connection(listener.getsockname())
            near.setblocking(False)
            assert near.fileno() == number
            channels.append(SocketChannel(engine.reactor, near))

        connect(engine.reactor, socket.AF_INET, listener.getsockname(), 5, connected)
        first = listener.accept()[0]
        engine.run_until(lambda: bool(channels))
        first.close()
        reader = Probe(channels[0]).read()
        peer = listener.accept()[0]
        peer.sendall(b"hello")
        engine.run_until(lambda: reader.received == b"hello")
        peer.close()
        reader.close()
        engine.settle()
