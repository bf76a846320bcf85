"""Messages with descriptors between processes, over real sockets."""

import os
import socket
from collections.abc import Iterator

import pytest

from portway.errors import MisuseError
from portway.server.workers import ipc as ipc_module
from portway.server.workers.ipc import IpcChannel, connection_socket, ipc_pair, receive_one
from tests.kit.loops import EngineLoop


class End:
    """One end, and the messages it received."""

    def __init__(self, engine: EngineLoop, sock: socket.socket) -> None:
        self.heard: list[bytes] = []
        self.socks: list[socket.socket] = []
        self.lost = 0
        self.post = IpcChannel(engine.reactor, sock, self._hear, self._fail)

    def _hear(self, data: memoryview, socks: list[socket.socket]) -> None:
        self.heard.append(bytes(data))
        self.socks += socks
        if bytes(data) == b"bad":
            raise ValueError("a bug")

    def _fail(self) -> None:
        self.lost += 1


Ends = tuple[End, End]


@pytest.fixture
def ends(engine: EngineLoop) -> Iterator[Ends]:
    """Both ends of an IPC channel."""
    one, other = (End(engine, sock) for sock in ipc_pair())
    yield one, other
    one.post.close()
    other.post.close()
    engine.settle()


def test_messages_arrive_whole_and_in_order_in_both_directions(engine: EngineLoop, ends: Ends) -> None:
    one, other = ends
    wanted = [bytes([number % 251 + 1]) * (number % 1000 + 1) for number in range(300)] + [b"x" * ipc_module.MESSAGE_BYTES_MAX]
    for message in wanted:
        assert one.post.send(message)
    other.post.send(b"back")
    engine.run_until(lambda: len(other.heard) == len(wanted) and one.heard == [b"back"])

    assert other.heard == wanted


def test_a_descriptor_goes_along_and_is_the_senders_no_more(engine: EngineLoop, ends: Ends) -> None:
    one, other = ends
    mine, far = socket.socketpair()
    with far:
        assert one.post.send(b"take this", [mine])
        engine.run_until(lambda: bool(other.socks))
        assert mine.fileno() == -1
        with other.socks[0] as taken:
            assert not taken.getblocking()
            taken.send(b"hello")
            assert far.recv(10) == b"hello"
        far.settimeout(5)
        assert far.recv(10) == b""


def test_as_many_descriptors_as_allowed_arrive_and_more_are_an_error_of_the_sender(engine: EngineLoop, ends: Ends) -> None:
    one, other = ends
    pairs = [socket.socketpair() for _ in range(ipc_module.DESCRIPTORS_MAX + 1)]
    mine, far = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    with pytest.raises(MisuseError, match="at most 3"):
        one.post.send(b"too many", mine)
    assert one.post.send(b"all of these", mine[:-1])
    engine.run_until(lambda: bool(other.heard))
    assert len(other.socks) == ipc_module.DESCRIPTORS_MAX
    for taken, end in zip(other.socks, far, strict=False):
        with taken:
            taken.send(b"hello")
            assert end.recv(10) == b"hello"
    for sock in (mine[-1], *far):
        sock.close()


def test_what_waits_for_a_slow_reader_is_bounded(engine: EngineLoop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ipc_module, "QUEUED_MAX", 5)
    one, other = ipc_pair()
    end = End(engine, one)
    with other:
        sent = 0
        while end.post.send(b"x" * 1000):
            sent += 1
            assert sent < 10_000
        got = 0
        while got < sent:
            engine.settle()
            try:
                got += bool(other.recv(2000))
            except BlockingIOError:
                pass
    end.post.close()


def test_descriptors_that_wait_are_bounded_and_closed_with_it(engine: EngineLoop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ipc_module, "QUEUED_WITH_FDS_MAX", 3)
    one, other = ipc_pair()
    end = End(engine, one)
    with other:
        while end.post.send(b"x" * 1000) and not end.post.queued:
            pass
        pairs = [socket.socketpair() for _ in range(5)]
        given = [end.post.send(b"take this", [mine]) for mine, _ in pairs]
        assert given == [True, True, True, False, False]
        assert end.post.send(b"without any")
        far = pairs[0][1]
        far.setblocking(False)
        with pytest.raises(BlockingIOError):
            far.recv(1)
        end.post.close()
        engine.settle()
        assert far.recv(1) == b""
        assert [mine.fileno() >= 0 for mine, _ in pairs] == [False, False, False, True, True]
    for mine, far in pairs:
        mine.close()
        far.close()


def test_capacity_for_descriptors_returns_when_the_reader_reads(engine: EngineLoop, ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ipc_module, "QUEUED_WITH_FDS_MAX", 3)
    one, other = ends
    sent = 0
    for _ in range(5):
        before = sent
        while True:
            mine, far = socket.socketpair()
            far.close()
            if not one.post.send(b"x" * 1000, [mine]):
                mine.close()
                break
            sent += 1
        assert sent - before > 3
        wanted = sent
        engine.run_until(lambda: len(other.socks) == wanted, what="all of them")  # noqa: B023 - called at once
    for sock in other.socks:
        sock.close()


def test_the_other_ends_death_is_reported_once_and_closes_queued_sockets(engine: EngineLoop, ends: Ends) -> None:
    one, other = ends
    other.post.close()
    engine.run_until(lambda: one.lost == 1)
    mine, far = socket.socketpair()
    with far, mine:
        assert not one.post.send(b"too late", [mine])
        assert mine.fileno() != -1
    one.post.close()
    engine.settle()
    assert (one.lost, other.lost) == (1, 0)


def test_a_bug_with_one_message_costs_no_other(engine: EngineLoop, ends: Ends) -> None:
    engine.tolerant = True
    one, other = ends
    for message in (b"bad", b"good"):
        one.post.send(message)
    engine.run_until(lambda: other.heard == [b"bad", b"good"])

    assert engine.logged_errors == 1
    assert not other.lost


def test_something_may_have_to_happen_before_messages_are_read(engine: EngineLoop) -> None:
    one, other = ipc_pair()
    told: list[str] = []
    end = IpcChannel(
        engine.reactor, one, lambda data, socks: told.append(bytes(data).decode()), lambda: None, before_read=lambda: told.append("before")
    )
    with other:
        for word in (b"a", b"b"):
            other.send(word)
        engine.run_until(lambda: "b" in told)
    end.close()

    assert told[:3] == ["before", "a", "b"]


def test_drain_takes_in_what_is_there_at_once(engine: EngineLoop, ends: Ends) -> None:
    one, other = ends
    one.post.send(b"now")
    other.post.drain()

    assert other.heard == [b"now"]


def test_a_closed_end_leaves_nothing_in_the_poller_though_another_process_has_a_copy(engine: EngineLoop) -> None:
    one, other = ipc_pair()
    copy = one.dup()
    end = End(engine, one)
    with copy, other:
        number = one.fileno()
        end.post.close()
        engine.settle()
        calls: list[int] = []
        reused = os.dup2(other.fileno(), number)
        try:
            engine.reactor._handlers[number] = calls.append
            other.send(b"for the copy")
            engine.settle()
            assert calls == []
        finally:
            del engine.reactor._handlers[number]
            os.close(reused)


def test_the_first_message_can_be_waited_for_without_a_loop() -> None:
    one, other = ipc_pair()
    with one, other:
        one.send(b"begin")
        assert receive_one(other, 1.0) == (b"begin", [])
        with pytest.raises(TimeoutError):
            receive_one(other, 0.01)
        one.close()
        with pytest.raises(ConnectionResetError):
            receive_one(other, 1.0)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_connection_is_taken_in_without_asking_what_it_is(host: str) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family) as door, socket.create_connection(door.getsockname()[:2], 5) as visitor:
        accepted, _ = door.accept()
        accepted.setblocking(False)
        with connection_socket(accepted.detach()) as taken:
            assert not taken.get_inheritable()
            assert taken.gettimeout() == 0
            with pytest.raises(BlockingIOError):
                taken.recv(1)
            assert taken.getpeername() == visitor.getsockname()
            assert taken.getsockname() == visitor.getpeername()
