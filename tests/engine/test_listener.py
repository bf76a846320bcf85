"""Listening in the reactor: bursts, failing handlers, errors of accept, and no descriptors left."""

import errno
import logging
import os
import resource
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from portway.engine.keepalive import KEEPALIVE
from portway.engine.listener import RESETS_INHERITED, Listener, listen
from portway.engine.socket_channel import RESET_ON_CLOSE, SocketChannel
from tests.kit.loops import EngineLoop
from tests.kit.sockets import open_descriptors

Accepted = list[tuple[socket.socket, tuple[str, int]]]


def call(listener: Listener) -> socket.socket:
    visitor = socket.create_connection(listener.address, 5)
    visitor.settimeout(5)
    return visitor


def hang_up(engine: EngineLoop, listener: Listener, accepted: Accepted, visitors: list[socket.socket]) -> None:
    listener.close()
    for sock, _ in accepted:
        sock.close()
    for visitor in visitors:
        visitor.close()
    engine.settle()


def test_every_visitor_of_a_burst_is_accepted(engine: EngineLoop) -> None:
    accepted: Accepted = []
    listener = Listener(engine.reactor, listen("127.0.0.1", 0), lambda sock, address: accepted.append((sock, address)))
    visitors = [call(listener) for _ in range(200)]
    engine.run_until(lambda: len(accepted) == 200)
    assert {address for _, address in accepted} == {visitor.getsockname() for visitor in visitors}
    for sock, _ in accepted:
        assert sock.gettimeout() == 0
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert not RESETS_INHERITED or sock.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8) == RESET_ON_CLOSE
        for option, value in KEEPALIVE.items():
            assert sock.getsockopt(socket.IPPROTO_TCP, getattr(socket, option)) == value
    hang_up(engine, listener, accepted, visitors)


def test_a_connection_that_resets_by_itself_ends_in_order_when_it_is_closed(engine: EngineLoop) -> None:
    accepted: Accepted = []
    listener = Listener(engine.reactor, listen("127.0.0.1", 0), lambda sock, address: accepted.append((sock, address)))
    visitors = [call(listener), call(listener)]
    engine.run_until(lambda: len(accepted) == 2)
    by_address = {address: SocketChannel(engine.reactor, sock, resets=RESETS_INHERITED) for sock, address in accepted}
    one, other = (by_address[visitor.getsockname()] for visitor in visitors)
    one.send(b"whole")
    one.close()
    other.send(b"cut")
    other.abort()
    engine.settle()
    assert [visitors[0].recv(9), visitors[0].recv(9)] == [b"whole", b""]
    with pytest.raises(ConnectionResetError):
        while visitors[1].recv(9):
            pass
    hang_up(engine, listener, [], visitors)


def test_it_knows_the_port_that_the_kernel_chose(engine: EngineLoop) -> None:
    listener = Listener(engine.reactor, listen("127.0.0.1", 0), lambda sock, address: sock.close())
    assert listener.address[0] == "127.0.0.1"
    assert listener.address[1] > 0
    listener.close()
    engine.settle()


def test_an_address_in_use_is_an_error() -> None:
    first = listen("127.0.0.1", 0)
    before = open_descriptors()
    with pytest.raises(OSError, match="in use"):
        listen("127.0.0.1", first.getsockname()[1])
    assert open_descriptors() == before
    first.close()


@contextmanager
def no_descriptors_left() -> Iterator[None]:
    """Lower the limit to the first free number, so that no descriptor can be opened."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with socket.socket() as probe:
        first_free = probe.fileno()
    resource.setrlimit(resource.RLIMIT_NOFILE, (first_free, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_running_out_of_descriptors_is_a_pause_and_not_the_end(engine: EngineLoop) -> None:
    accepted: Accepted = []
    listener = Listener(engine.reactor, listen("127.0.0.1", 0), lambda sock, address: accepted.append((sock, address)))
    engine.settle()
    visitors = [call(listener) for _ in range(5)]
    with no_descriptors_left():
        batches = 0

        def count() -> bool:
            nonlocal batches
            batches += 1
            return False

        engine.settle()
        with pytest.raises(AssertionError, match="not within"):
            engine.run_until(count, deadline_s=0.5)
        assert not accepted
        assert batches < 20, "spins while it cannot accept"
    engine.run_until(lambda: len(accepted) == 5, deadline_s=2)
    visitors.append(call(listener))
    engine.run_until(lambda: len(accepted) == 6, deadline_s=2)
    hang_up(engine, listener, accepted, visitors)


class FailingSocket(socket.socket):
    """A real listening socket whose accept fails like the system call can; unaccepted connections stay in the backlog."""

    failures: list[int]
    """The errors of the next accepts."""
    calls = 0

    @classmethod
    def listening(cls, *failures: int) -> "FailingSocket":
        sock = cls(fileno=listen("127.0.0.1", 0).detach())
        sock.failures = list(failures)
        return sock

    def _accept(self) -> tuple[int, tuple[str, int]]:
        self.calls += 1
        if self.failures:
            code = self.failures.pop(0)
            raise OSError(code, os.strerror(code))
        return super()._accept()  # type: ignore[misc,no-any-return]


OF_ONE_CONNECTION = ["ECONNABORTED", "EINTR", "EPERM"]
PENDING_ON_THE_NEW_SOCKET = ["ENETDOWN", "EPROTO", "ENOPROTOOPT", "EHOSTDOWN", "ENONET", "EHOSTUNREACH", "EOPNOTSUPP", "ENETUNREACH"]
OF_THE_SYSTEM = ["EMFILE", "ENFILE", "ENOBUFS", "ENOMEM", "EIO", "EINVAL", "EFAULT", "ENOSR"]


@pytest.mark.parametrize("name", [*OF_ONE_CONNECTION, *PENDING_ON_THE_NEW_SOCKET, *OF_THE_SYSTEM])
def test_no_accept_error_delays_the_next_visitors(engine: EngineLoop, name: str) -> None:
    accepted: Accepted = []
    sock = FailingSocket.listening(getattr(errno, name))
    visitors = [socket.create_connection(sock.getsockname(), 5) for _ in range(3)]  # one edge for all of them, and no further one
    listener = Listener(engine.reactor, sock, lambda sock, address: accepted.append((sock, address)))
    engine.run_until(lambda: len(accepted) == 3)
    hang_up(engine, listener, accepted, visitors)


@pytest.mark.parametrize("name", ["ENETDOWN", "EPERM", "EIO"])
def test_an_error_that_repeats_takes_neither_the_core_nor_the_log(engine: EngineLoop, caplog: pytest.LogCaptureFixture, name: str) -> None:
    accepted: Accepted = []
    sock = FailingSocket.listening(*[getattr(errno, name)] * 100_000)
    visitors = [socket.create_connection(sock.getsockname(), 5)]
    with caplog.at_level(logging.WARNING, "portway.engine"):
        listener = Listener(engine.reactor, sock, lambda sock, address: accepted.append((sock, address)))
        done: list[bool] = []
        engine.reactor.call_later(1.0, lambda: done.append(True))
        engine.run_until(lambda: bool(done))
        assert 3 <= sock.calls <= 64 * 10, "five pauses a second, at most 64 tries between two of them"
        assert len(caplog.records) == 1
        assert "next attempt in 0.2 s" in caplog.text
    sock.failures.clear()
    engine.run_until(lambda: len(accepted) == 1)
    hang_up(engine, listener, accepted, visitors)


def test_a_failed_handler_does_not_delay_other_visitors(engine: EngineLoop) -> None:
    engine.tolerant = True
    accepted: Accepted = []
    calls = 0

    def moody(sock: socket.socket, address: tuple[str, int]) -> None:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise RuntimeError("a bug")
        accepted.append((sock, address))

    listener = Listener(engine.reactor, listen("127.0.0.1", 0), moody)
    visitors = [call(listener) for _ in range(5)]
    engine.run_until(lambda: len(accepted) == 4, deadline_s=2)
    hang_up(engine, listener, accepted, visitors)
    assert engine.logged_errors == 1


def test_closing_inside_the_handler_stops_at_once(engine: EngineLoop) -> None:
    accepted: Accepted = []

    def only_one(sock: socket.socket, address: tuple[str, int]) -> None:
        accepted.append((sock, address))
        listener.close()

    before = open_descriptors()
    listener = Listener(engine.reactor, listen("127.0.0.1", 0), only_one)
    visitors = [call(listener) for _ in range(3)]
    engine.settle()
    assert len(accepted) == 1
    listener.close()
    for visitor in visitors[1:]:
        with pytest.raises(ConnectionResetError):
            visitor.recv(1)
    hang_up(engine, listener, accepted, visitors)
    assert open_descriptors() == before


def test_closing_during_the_pause_is_quiet(engine: EngineLoop) -> None:
    listener = Listener(engine.reactor, listen("127.0.0.1", 0), lambda sock, address: sock.close())
    engine.settle()
    with call(listener), no_descriptors_left():
        engine.settle()
        listener.close()
        engine.settle()
    done: list[bool] = []
    engine.reactor.call_later(0.3, lambda: done.append(True))
    engine.run_until(lambda: bool(done))
