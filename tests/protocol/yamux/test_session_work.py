"""The work of frames, and the joint delivery of tiny ones of one stream."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portway.protocol.work import DATA_FRAME_WORK, OTHER_FRAME_WORK, TURN_WORK, WAKING_FRAME_WORK, Work
from portway.protocol.yamux.session import TINY_BYTES
from tests.kit.yamux_wire import FIN, SYN, Frame, data, update
from tests.protocol.yamux.harness import RecordingStream, SessionHarness


class CountingStream(RecordingStream):
    """Notes what it was given at a time."""

    __slots__ = ("pieces",)

    pieces: list[bytes]

    def deliver(self, view: memoryview) -> None:
        if not self.received:
            self.pieces = []
        self.pieces.append(bytes(view))
        super().deliver(view)


class CountingShell(SessionHarness):
    """A session of a yamux server, to which the peer has opened streams 1 to 9."""

    def __init__(self) -> None:
        super().__init__(client=False)
        self.session._make_stream = CountingStream
        self.receive(*(update(number, flags=SYN) for number in range(1, 10, 2)))

    def turn(self, wire: bytes) -> tuple[int, int]:
        """Take a turn at `wire`; return how many bytes were taken, and the work."""
        work = Work()
        taken = self.session.receive(memoryview(wire), self.now, work, TURN_WORK)
        return taken, work.done

    def pieces(self, stream_id: int) -> list[bytes]:
        stream = self.session.streams[stream_id]
        assert isinstance(stream, CountingStream)
        return stream.pieces


def wire_of(*frames: Frame) -> bytes:
    return b"".join(frame.wire for frame in frames)


def test_tiny_frames_of_one_stream_are_delivered_in_one_piece_from_the_second_on() -> None:
    harness = CountingShell()
    harness.receive(*(data(1, b"%d" % (number % 10)) for number in range(100)))
    assert harness.pieces(1) == [b"0", b"123456789" + b"0123456789" * 9]


def test_tiny_frames_are_not_joined_past_a_large_frame_or_one_with_flags() -> None:
    harness = CountingShell()
    large = b"x" * (TINY_BYTES + 1)
    harness.receive(
        data(1, b"a"),
        data(1, b"b"),
        data(1, b"c"),
        data(3, b"other"),
        data(1, b"d"),
        data(1, large),
        data(1, b"e"),
        update(1, 5),
        data(1, b"f"),
        data(1, b"g", FIN),
    )
    assert harness.pieces(1) == [b"a", b"bc", b"d", large, b"e", b"f", b"g"]
    assert harness.pieces(3) == [b"other"]
    assert harness.stream(1).ended == 1


def test_joined_frames_count_in_the_window_one_by_one() -> None:
    harness = CountingShell()
    window = harness.stream(1).receive_window
    window.left = 10
    assert harness.violation(*(data(1, b"x") for _ in range(10))) is None
    assert "window" in str(harness.violation(data(1, b"x"), data(1, b"x")))


@given(
    frames=st.lists(st.tuples(st.sampled_from([1, 3, 5]), st.binary(min_size=0, max_size=TINY_BYTES + 3), st.integers(1, 6)), max_size=12),
    cuts=st.lists(st.integers(0, 2000), max_size=8),
)
def test_every_stream_gets_its_bytes_in_order_for_any_joins_and_cuts(frames: list[tuple[int, bytes, int]], cuts: list[int]) -> None:
    harness = CountingShell()
    wire = b"".join(data(stream_id, payload).wire * times for stream_id, payload, times in frames)
    expected = {1: b"", 3: b"", 5: b""}
    for stream_id, payload, times in frames:
        expected[stream_id] += payload * times
    before = 0
    for cut in [*sorted(min(cut, len(wire)) for cut in cuts), len(wire)]:
        piece = wire[before:cut]
        while piece:
            taken, _ = harness.turn(piece)
            piece = piece[taken:]
        before = cut
    for stream_id, payload in expected.items():
        assert bytes(harness.stream(stream_id).received) == payload


@pytest.mark.parametrize(
    ("frame", "most"),
    [
        (data(1, b"x" * 100), TURN_WORK // DATA_FRAME_WORK),
        (data(1, b"x"), 1024),
        (data(9999, b"x"), TURN_WORK // OTHER_FRAME_WORK),
        (update(1, 1), TURN_WORK // OTHER_FRAME_WORK),
    ],
)
def test_a_turn_takes_a_bounded_number_of_frames(frame: Frame, most: int) -> None:
    harness = CountingShell()
    wire = frame.wire * 5000
    taken, work = harness.turn(wire)
    assert most * 0.9 <= taken / len(frame.wire) <= most + 1
    assert TURN_WORK <= work <= TURN_WORK + DATA_FRAME_WORK


def test_frames_that_make_others_act_cost_more() -> None:
    harness = CountingShell()
    stream = harness.stream(1)
    stream.send_window = 0
    _, work = harness.turn(update(1, 1).wire)
    assert work == OTHER_FRAME_WORK + WAKING_FRAME_WORK
    _, work = harness.turn(data(1, b"", FIN).wire)
    assert work == OTHER_FRAME_WORK + WAKING_FRAME_WORK
