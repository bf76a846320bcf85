"""The pump that splices: what arrives, what a break loses, and where its pipes are. Relay tests run over it as well."""

import hashlib
import socket
import threading
from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portway.engine import pipe_pool
from portway.engine.channel import UNSUPPORTED
from portway.engine.limits import scopes_of
from portway.engine.policy import Policy
from portway.engine.reactor import TURN_BYTES
from portway.engine.relay import Relay
from portway.engine.socket_channel import SocketChannel
from portway.engine.splice_pump import SPLICE_BYTES, SplicePump
from portway.engine.tally import ENDED, PAYLOAD
from tests.engine.test_relay import noise
from tests.engine.test_turns import Endless, Owner
from tests.kit.certificates import Identity
from tests.kit.loops import EngineLoop
from tests.kit.sockets import read_to_end, reset, tcp_pair
from tests.kit.splicing import needs_splice, use_pump

pytestmark = needs_splice

MIB = 1024 * 1024


class Counting(SocketChannel):
    """Counts what is spliced in and out."""

    __slots__ = ("asked_bytes_max", "from_bytes", "into_bytes")

    def __init__(self, engine: EngineLoop, sock: socket.socket) -> None:
        self.into_bytes = self.from_bytes = self.asked_bytes_max = 0
        sock.setblocking(False)
        super().__init__(engine.reactor, sock)

    def splice_into(self, pipe: int, count: int) -> int:
        self.asked_bytes_max = max(self.asked_bytes_max, count)
        moved = super().splice_into(pipe, count)
        self.into_bytes += max(moved, 0)
        return moved

    def splice_from(self, pipe: int, count: int) -> int:
        moved = super().splice_from(pipe, count)
        self.from_bytes += max(moved, 0)
        return moved


class Direct:
    """visitor ⇄ relay ⇄ origin, where both peers are plain sockets and nothing else is in between."""

    def __init__(
        self, engine: EngineLoop, buffer_bytes: int | None = None, kind: type[Counting] = Counting, policy: Policy | None = None
    ) -> None:
        self.engine = engine
        self.visitor, near = tcp_pair(buffer_bytes)
        far, self.origin = tcp_pair(buffer_bytes)
        self.left, self.right = kind(engine, near), kind(engine, far)
        self.done: list[Relay] = []
        scopes = () if policy is None else scopes_of(engine.reactor, policy)
        self.relay = Relay(engine.reactor, self.left, self.right, self.done.append, scopes)
        self.relay.start()
        self.forward = self.relay._forward
        assert isinstance(self.forward, SplicePump)

    def close(self) -> None:
        self.relay.abort()
        self.engine.settle()
        self.visitor.close()
        self.origin.close()

    @property
    def piped_bytes(self) -> int:
        assert isinstance(self.forward, SplicePump)
        return self.forward._piped


def free_everything(engine: EngineLoop) -> bool:
    """Whether no pipe is lent."""
    return engine.reactor.pipes.open_pipes == len(engine.reactor.pipes._free)


@pytest.fixture
def direct(engine: EngineLoop) -> Iterator[Direct]:
    use_pump(engine, "splice")
    direct = Direct(engine)
    yield direct
    direct.close()
    assert free_everything(engine)


def in_thread(work: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def _send_all(sock: socket.socket, data: bytes) -> None:
    sock.sendall(data)
    sock.shutdown(socket.SHUT_WR)


def carry(engine: EngineLoop, total_bytes: int) -> tuple[Direct, str, str]:
    """Send that many bytes through a relay with the defaults; return it with the hashes of what was sent and received."""
    if engine.reactor.level_poller is not None:
        use_pump(engine, "splice")
    direct = Direct(engine)
    sent, received = hashlib.blake2b(), hashlib.blake2b()
    piece = noise(MIB)

    def send() -> None:
        for number in range(total_bytes // MIB):
            altered = number.to_bytes(8, "big") + piece[8:]
            sent.update(altered)
            direct.visitor.sendall(altered)
        direct.visitor.shutdown(socket.SHUT_WR)

    def receive() -> None:
        buffer = memoryview(bytearray(MIB))
        while count := direct.origin.recv_into(buffer):
            received.update(buffer[:count])
        direct.origin.close()

    threads = [in_thread(send), in_thread(receive)]
    engine.run_until(lambda: bool(direct.done), deadline_s=120)
    for thread in threads:
        thread.join(10)
    return direct, sent.hexdigest(), received.hexdigest()


@pytest.mark.parametrize("total_bytes", [64 * MIB, pytest.param(1024 * MIB, marks=pytest.mark.long)])
def test_a_long_transfer_is_spliced_and_arrives_unchanged(engine: EngineLoop, total_bytes: int) -> None:
    direct, sent, received = carry(engine, total_bytes)
    assert sent == received
    tally = direct.relay.tally
    assert (tally.forward.total_bytes, tally.forward.shutdown_reason) == (total_bytes, ENDED)
    assert direct.left.into_bytes == direct.right.from_bytes > total_bytes / 2
    assert free_everything(engine)
    direct.visitor.close()


def test_small_messages_are_copied_and_an_idle_relay_has_no_pipe(engine: EngineLoop) -> None:
    if engine.reactor.level_poller is not None:
        pytest.skip("this engine does not splice by default")
    direct = Direct(engine)
    for size in (1, 100, 16_000):
        direct.visitor.sendall(noise(size))
        direct.engine.settle()
        assert direct.origin.recv(20_000) == noise(size)
    assert direct.left.into_bytes == 0
    assert engine.reactor.pipes.open_pipes == 0
    direct.close()


def test_pipes_are_returned_when_the_source_is_dry(engine: EngineLoop, direct: Direct) -> None:
    for _ in range(3):
        direct.visitor.sendall(noise(5000))
        engine.settle()
        assert direct.origin.recv(10_000) == noise(5000)
        assert free_everything(engine)
    assert engine.reactor.pipes.open_pipes == 1
    assert direct.left.into_bytes >= 3 * 4000


def test_a_stalled_reader_keeps_one_turn_in_its_pipe_and_gets_all_of_it(engine: EngineLoop, direct: Direct) -> None:
    message = noise(24 * MIB)
    sender = in_thread(partial(_send_all, direct.visitor, message))
    engine.run_until(lambda: direct.piped_bytes > 0)
    engine.settle()
    assert direct.forward.bytes - direct.right.from_bytes <= SPLICE_BYTES + MIB
    received: list[bytes] = []
    reader = in_thread(lambda: received.append(read_to_end(direct.origin)))
    engine.run_until(lambda: direct.forward.reason == ENDED)
    reader.join(10)
    sender.join(10)
    assert received == [message]
    assert direct.relay.tally.forward.total_bytes == len(message)


def fill_until_stalled(direct: Direct) -> int:
    """Send until bytes stay in the pipe; return how many were sent."""
    direct.visitor.setblocking(False)
    sent = 0
    while not direct.piped_bytes:
        try:
            sent += direct.visitor.send(noise(MIB)[sent % 1000 :])
        except BlockingIOError:
            direct.engine.settle()
    return sent


def test_the_pipe_of_a_stalled_reader_is_emptied_for_others_without_loss(
    engine: EngineLoop, monkeypatch: pytest.MonkeyPatch, identity: Identity
) -> None:
    monkeypatch.setattr(pipe_pool, "STALLED_S", 0.0)
    use_pump(engine, "splice").pipes_max = 1
    stalled = Direct(engine, 64 * 1024)
    sent = fill_until_stalled(stalled)
    other = Direct(engine)
    other.visitor.sendall(noise(50_000))
    engine.settle()
    assert other.left.into_bytes > 40_000, "the other relay got the pipe"
    assert stalled.piped_bytes == 0
    assert engine.reactor.pipes.open_pipes == 1
    stalled.visitor.shutdown(socket.SHUT_WR)
    received: list[bytes] = []
    reader = in_thread(lambda: received.append(read_to_end(stalled.origin)))
    engine.run_until(lambda: stalled.forward.reason == ENDED)
    reader.join(10)
    assert len(received[0]) == sent == stalled.relay.tally.forward.total_bytes
    stalled.close()
    other.close()


def test_without_a_pipe_relays_copy(engine: EngineLoop, direct: Direct) -> None:
    engine.reactor.pipes.pipes_max = 0
    direct.visitor.sendall(noise(MIB // 4))
    direct.visitor.shutdown(socket.SHUT_WR)
    engine.run_until(lambda: direct.forward.reason == ENDED)
    assert read_to_end(direct.origin) == noise(MIB // 4)
    assert direct.left.into_bytes == 0


@pytest.mark.parametrize("who", ["visitor", "origin", "relay"])
def test_a_break_with_bytes_in_the_pipe_closes_the_pipe(engine: EngineLoop, who: str) -> None:
    pool = use_pump(engine, "splice")
    direct = Direct(engine, 64 * 1024)
    fill_until_stalled(direct)
    assert pool.open_pipes == 1
    if who == "relay":
        direct.relay.abort("token revoked")
    else:
        reset(direct.visitor if who == "visitor" else direct.origin)
    engine.run_until(lambda: bool(direct.done))
    assert pool.open_pipes == 0, "its bytes would go to the next relay"
    assert not pool._holders
    with pytest.raises(ConnectionResetError):
        read_to_end(direct.visitor if who == "origin" else direct.origin)
    direct.close()


def test_a_payload_limit_passes_its_last_byte_and_discards_the_rest_of_the_pipe(engine: EngineLoop) -> None:
    use_pump(engine, "splice")
    limit = 300_000
    direct = Direct(engine, policy=Policy(max_total_payload=limit))
    sender = in_thread(lambda: _send_anyway(direct.visitor, noise(MIB)))
    received = bytearray()
    reader = in_thread(lambda: _read_anyway(direct.origin, received))
    engine.run_until(lambda: bool(direct.done))
    for thread in (sender, reader):
        thread.join(10)
    assert bytes(received) == noise(MIB)[:limit]
    assert direct.left.into_bytes > limit / 2
    tally = direct.relay.tally
    assert (tally.forward.total_bytes, tally.forward.shutdown_reason) == (limit, PAYLOAD)
    assert free_everything(engine)
    direct.close()


def test_bytes_over_a_limit_are_not_even_read(engine: EngineLoop) -> None:
    use_pump(engine, "splice")
    for policy, most in ((None, SPLICE_BYTES), (Policy(max_total_payload=64 * MIB), TURN_BYTES)):
        direct = Direct(engine, policy=policy)
        sender = in_thread(partial(_send_all, direct.visitor, noise(MIB)))
        reader = in_thread(partial(_read_anyway, direct.origin, bytearray()))
        engine.run_until(lambda direct=direct: bool(direct.forward.reason))  # type: ignore[misc]
        sender.join(10)
        assert direct.left.asked_bytes_max == most
        direct.close()
        reader.join(10)


def _send_anyway(sock: socket.socket, data: bytes) -> None:
    try:
        sock.sendall(data)
    except OSError:
        pass


def _read_anyway(sock: socket.socket, into: bytearray) -> None:
    try:
        while piece := sock.recv(65536):
            into += piece
    except OSError:
        pass


def test_urgent_data_is_no_end(engine: EngineLoop, direct: Direct) -> None:
    """The kernel splices up to urgent data and then returns 0, as at the end."""
    direct.visitor.sendall(noise(1000))
    direct.visitor.send(b"!", socket.MSG_OOB)
    direct.visitor.sendall(noise(1000))
    engine.settle()
    assert direct.forward.reason == ""
    direct.visitor.shutdown(socket.SHUT_WR)
    engine.run_until(lambda: direct.forward.reason == ENDED)
    assert read_to_end(direct.origin) == noise(1000) * 2


def test_more_pieces_than_a_pipe_has_slots_all_arrive(engine: EngineLoop, direct: Direct) -> None:
    """Each small segment takes a slot, so a pipe is full long before its size is reached."""
    pieces = [noise(17 + number % 50, number) for number in range(2000)]
    for piece in pieces:
        direct.visitor.sendall(piece)
    direct.visitor.shutdown(socket.SHUT_WR)
    engine.run_until(lambda: direct.forward.reason == ENDED)
    assert read_to_end(direct.origin) == b"".join(pieces)


class NoSpliceInto(Counting):
    """A socket in a sandbox that refuses the call."""

    __slots__ = ()

    def splice_into(self, pipe: int, count: int) -> int:
        return SocketChannel.splice_into(self, self._sock.fileno(), count)


class NoSpliceFrom(Counting):
    """The same, refused only once bytes are in the pipe."""

    __slots__ = ()

    def splice_from(self, pipe: int, count: int) -> int:
        return SocketChannel.splice_from(self, self._sock.fileno(), count)


@pytest.mark.parametrize("kind", [NoSpliceInto, NoSpliceFrom])
def test_a_refused_call_is_followed_by_copies_without_loss(engine: EngineLoop, kind: type[Counting]) -> None:
    pool = use_pump(engine, "splice")
    direct = Direct(engine, kind=kind)
    message = noise(3 * MIB)
    sender = in_thread(partial(_send_all, direct.visitor, message))
    received: list[bytes] = []
    reader = in_thread(lambda: received.append(read_to_end(direct.origin)))
    engine.run_until(lambda: direct.forward.reason == ENDED)
    for thread in (sender, reader):
        thread.join(10)
    assert received == [message]
    assert not pool.enabled
    assert pool.open_pipes == 0
    direct.close()


def test_the_channel_reports_that_the_system_cannot_splice(engine: EngineLoop) -> None:
    left, right = tcp_pair()
    channel = Counting(engine, left)
    assert channel.splice_into(right.fileno(), 10) == UNSUPPORTED  # not a pipe: EINVAL
    assert channel.splice_from(right.fileno(), 10) == UNSUPPORTED
    channel.close()
    right.close()


class EndlessSocket(Endless):
    """Claims to splice as much as it is asked for."""

    __slots__ = ()

    can_splice = True

    def splice_into(self, _pipe: int, count: int) -> int:
        return count

    def splice_from(self, _pipe: int, count: int) -> int:
        return count


def test_a_turn_is_bounded_in_bytes(engine: EngineLoop) -> None:
    use_pump(engine, "splice")
    pump = SplicePump(engine.reactor, EndlessSocket(TURN_BYTES), EndlessSocket(), Owner(engine))
    turns: list[int] = []

    def check() -> None:
        turns.append(pump.bytes)
        pump.run()
        engine.reactor.call_soon_charged(engine.reactor.unassigned, check)

    pump.run()
    engine.reactor.call_soon_charged(engine.reactor.unassigned, check)
    engine.run_until(lambda: len(turns) >= 20)
    pump.stop(ENDED)
    assert {after - before for before, after in pairwise(turns)} == {SPLICE_BYTES}
    assert free_everything(engine)


MOVES = st.lists(
    st.one_of(
        st.tuples(st.just("send"), st.integers(1, 200_000)),
        st.tuples(st.just("send"), st.integers(1, 40)),
        st.tuples(st.just("read"), st.integers(1, 300_000)),
        st.tuples(st.just("settle"), st.just(0)),
    ),
    max_size=25,
)


class Play(Direct):
    """A relay whose peers do something at random."""

    def __init__(self, engine: EngineLoop, buffer_bytes: int) -> None:
        super().__init__(engine, buffer_bytes)
        self.sent, self.received = bytearray(), bytearray()
        self.visitor.setblocking(False)
        self.origin.setblocking(False)

    def send(self, size: int) -> None:
        """Send what fits, and let the reactor run a little."""
        data = noise(size, len(self.sent))
        try:
            self.sent += data[: self.visitor.send(data)]
        except BlockingIOError:
            pass
        self.engine.run(_one_batch())

    def read(self, size: int) -> bool:
        """Read; True when there may be more."""
        try:
            piece = self.origin.recv(size)
        except BlockingIOError:
            return False
        self.received += piece
        return bool(piece)

    def settle(self, _size: int) -> None:
        self.engine.settle()

    def end(self) -> None:
        """End properly, and read all of it."""
        self.visitor.shutdown(socket.SHUT_WR)
        self.engine.run_until(lambda: not self.read(MIB) and self.forward.reason == ENDED)
        while self.read(MIB):
            pass
        assert self.received == self.sent
        assert self.relay.tally.forward.total_bytes == len(self.sent)

    def breaks(self, who: str) -> None:
        """Break, and read what is still there: it must not look like all."""
        if who == "relay":
            self.relay.abort()
        else:
            reset(self.visitor if who == "visitor" else self.origin)
        self.engine.run_until(lambda: bool(self.done))
        assert self.relay.tally.forward.shutdown_reason != ENDED
        if who != "origin":
            with pytest.raises(ConnectionResetError):
                while True:
                    assert self.read(MIB), "a break looked like an end"
        assert self.sent.startswith(self.received)
        assert self.relay.tally.forward.total_bytes <= len(self.sent)


@given(moves=MOVES, ending=st.sampled_from(["end", "visitor", "origin", "relay"]), buffer_kib=st.sampled_from([4, 64, 1024]))
def test_whatever_the_sizes_bytes_arrive_in_order_and_only_an_end_looks_like_one(
    moves: list[tuple[str, int]], ending: str, buffer_kib: int
) -> None:
    engine = EngineLoop()
    pool = use_pump(engine, "splice")
    play = Play(engine, buffer_kib * 1024)
    for move, size in moves:
        getattr(play, move)(size)
    if ending == "end":
        play.end()
    else:
        play.breaks(ending)
    play.close()
    assert free_everything(engine)
    assert not pool._holders
    engine.close()


async def _one_batch() -> None:
    """Let the reactor run once."""
