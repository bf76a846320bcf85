"""What a control stream may keep: a fixed bound before the login, a part of its token's budget after it."""

from collections.abc import Iterator

import pytest

from portway.engine.memory_budget import MemoryBudget
from portway.errors import PeerError, UnavailableError
from portway.mux.mux_channel import MuxChannel
from portway.protocol.control import framing
from portway.protocol.control.messages import AskTicket, Drain, Released
from portway.session.control_account import PRE_LOGIN_BUFFERED_BYTES_MAX, ControlAccount
from portway.session.control_stream import INBOX_BYTES_MAX, INBOX_MAX, MESSAGE_COST_BYTES, READ_BYTES, ControlStream
from tests.kit.loops import EngineLoop
from tests.kit.yamux_peer import RawPeer
from tests.kit.yamux_wire import SYN, data, update

KIB = 1024
STREAM = 2
WINDOW = 256 * KIB


class ServerEnd:
    """A server's end of a control stream over a link, and the agent's end by hand."""

    def __init__(self, engine: EngineLoop) -> None:
        self.engine = engine
        self.peer = RawPeer(engine, mux_is_client=True)
        self.peer.send(update(STREAM, flags=SYN))
        self.channel: MuxChannel = self.peer.accepted[0]
        self.account = self.channel.buffer_account = ControlAccount()
        self.stream = ControlStream(self.channel, engine.reactor, self.account)

    def join(self, budget: MemoryBudget) -> "ServerEnd":
        """Log in."""
        self.stream.allow_large_messages()
        self.stream.use_budget(budget)
        return self

    def say(self, body: bytes, times: int = 1) -> None:
        """Send messages and let them come."""
        self.peer.send(data(STREAM, framing.encode(body) * times))
        self.engine.settle()

    def close(self) -> None:
        self.stream.close()
        self.peer.mux.abort()
        self.peer.sock.close()
        self.engine.settle()


@pytest.fixture
def ends(engine: EngineLoop) -> Iterator[list[ServerEnd]]:
    made = [ServerEnd(engine) for _ in range(3)]
    yield made
    for end in made:
        end.close()


def test_before_the_login_too_many_bytes_end_the_stream_with_the_reason(engine: EngineLoop, ends: list[ServerEnd]) -> None:
    stranger = ends[0]
    stranger.say(bytes(4000), 3)
    assert 12_000 < stranger.account.bytes <= PRE_LOGIN_BUFFERED_BYTES_MAX
    stranger.say(bytes(4000), 10)
    assert stranger.stream.lost
    assert stranger.account.bytes == 0
    with pytest.raises(PeerError, match="bytes of control messages buffered before the login; at most 16384 are allowed"):
        engine.run(stranger.stream.receive(5.0))


def test_unread_bytes_in_the_channel_count(ends: list[ServerEnd]) -> None:
    budget = MemoryBudget(1 << 30)
    member = ends[0].join(budget)
    sent = 200 * KIB
    member.say(bytes(1020), sent // KIB)
    assert sent <= budget.bytes <= sent + sent // KIB * MESSAGE_COST_BYTES
    assert member.stream._inbox_bytes <= INBOX_BYTES_MAX + READ_BYTES + READ_BYTES // 1024 * MESSAGE_COST_BYTES


def test_an_inbox_is_bounded_in_bytes_for_large_messages_and_in_number_for_small_ones(ends: list[ServerEnd]) -> None:
    large, small = ends[0].join(MemoryBudget(1 << 30)), ends[1].join(MemoryBudget(1 << 30))
    large.say(bytes(65_000), 4)
    assert len(large.stream._inbox) == 1
    small.say(b"x" * 100, 1000)
    assert len(small.stream._inbox) < INBOX_MAX + READ_BYTES // 100


def test_all_messages_are_read_in_order_from_a_full_inbox(engine: EngineLoop, ends: list[ServerEnd]) -> None:
    budget = MemoryBudget(1 << 30)
    member = ends[0].join(budget)
    member.peer.send(
        data(STREAM, b"".join(framing.encode(b"\x82\xa1t\xa9AskTicket\xa2id\xcd" + number.to_bytes(2, "big")) for number in range(1, 3000)))
    )

    async def read_all() -> list[int]:
        return [message.id for _ in range(1, 3000) if isinstance(message := await member.stream.receive(5.0), AskTicket)]

    assert engine.run(read_all()) == list(range(1, 3000))
    engine.settle()
    assert budget.bytes == 0


def test_the_largest_link_of_a_token_ends(engine: EngineLoop, ends: list[ServerEnd]) -> None:
    budget = MemoryBudget(300 * KIB)
    modest, greedy, other = (end.join(budget) for end in ends)
    modest.say(bytes(1000), 20)
    other.say(bytes(65_000), 2)
    greedy.say(bytes(65_000), 3)
    assert (modest.stream.lost, greedy.stream.lost, other.stream.lost) == (False, True, False)
    assert budget.bytes <= 300 * KIB
    with pytest.raises(PeerError, match="all links of the token may buffer 307200 in total"):
        engine.run(greedy.stream.receive(5.0))
    with pytest.raises(UnavailableError):
        greedy.stream.send(Released(id=1))


def test_unsent_replies_count(engine: EngineLoop, ends: list[ServerEnd]) -> None:
    budget = MemoryBudget(1 << 30)
    member = ends[0].join(budget)
    for _ in range(360):  # the stream's window takes the first 256 KiB
        member.stream.send(Drain(reason="x" * 1000))
    engine.settle()
    assert 90_000 < budget.bytes == member.stream.unsent_bytes
    member.stream.close()
    assert budget.bytes == 0


def test_an_ended_stream_counts_nothing(ends: list[ServerEnd]) -> None:
    budget = MemoryBudget(1 << 30)
    broken, closed, aborted = (end.join(budget) for end in ends)
    for end in ends:
        end.say(bytes(65_000), 3)
    assert budget.bytes > 500_000
    broken.peer.mux.abort()
    assert 65_000 < broken.account.bytes < 70_000, "one message was here before the link broke"
    closed.stream.close()
    aborted.stream.abort()
    broken.stream.close()
    assert budget.bytes == 0
