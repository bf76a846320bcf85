"""Frames of a single stream, and its use of the window."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from portway.errors import MisuseError, PeerError
from portway.protocol.yamux.stream import Stream
from tests.kit.yamux_wire import ACK, DATA, FIN, INITIAL_WINDOW, RST, SYN, WINDOW_UPDATE, Frame, all_frames, data, update
from tests.protocol.yamux.harness import RecordingStream, SessionHarness


def opened(harness: SessionHarness) -> RecordingStream:
    """Return a stream opened here, whose SYN has not gone out yet."""
    stream = harness.session.open()
    assert isinstance(stream, RecordingStream)
    return stream


def accepted(harness: SessionHarness, *more: Frame) -> RecordingStream:
    """Return a stream that the peer has opened."""
    harness.receive(update(2, 0, SYN), *more)
    harness.take_output()
    return harness.stream(2)


def test_a_stream_starts_with_the_prescribed_windows_and_no_output() -> None:
    harness = SessionHarness()
    stream = opened(harness)
    assert (stream.send_window, stream.receive_window.left) == (INITIAL_WINDOW, INITIAL_WINDOW)
    assert (stream.local_ended, stream.peer_ended, stream.gone) == (False, False, False)
    assert harness.take_output() == []


@pytest.mark.parametrize("first", ["data", "header", "announce", "grant", "end", "reset"])
def test_only_the_first_frame_carries_syn(first: str) -> None:
    harness = SessionHarness()
    stream = opened(harness)
    match first:
        case "data":
            stream.write(b"x")
        case "header":
            harness.session.out += stream.data_header(0)
        case "announce":
            stream.announce(opened_here=True)
        case "grant":
            stream.grant(0.0)
        case "end":
            stream.end()
        case _:
            stream.reset()
    if first not in ("end", "reset"):
        stream.write(b"y")
        stream.announce(opened_here=True)
        stream.end()
    frames = harness.take_output()
    assert frames[0].flags & SYN
    assert not any(frame.flags & SYN for frame in frames[1:])
    assert len(frames) == (1 if first in ("end", "reset") else 3), "an open that has been said is not said again"
    assert {frame.stream_id for frame in frames} == {1}


def test_an_accepted_stream_is_acknowledged_and_never_sends_syn() -> None:
    harness = SessionHarness()
    harness.receive(update(2, 0, SYN))
    assert harness.take_output() == [update(2, 0, ACK)]
    stream = harness.stream(2)
    stream.write(b"hello")
    stream.end()
    assert harness.take_output() == [data(2, b"hello"), data(2, b"", FIN)]


def test_data_follows_its_header_and_is_a_copy() -> None:
    harness = SessionHarness()
    stream = accepted(harness)
    source = bytearray(b"abc")
    stream.write(source)
    stream.write(memoryview(source)[:2])
    source[:] = b"xyz"
    assert harness.take_output() == [data(2, b"abc"), data(2, b"ab")]
    assert stream.send_window == INITIAL_WINDOW - 5


def test_a_separate_data_header_uses_the_window_and_sends_nothing() -> None:
    harness = SessionHarness()
    stream = accepted(harness)
    assert stream.data_header(70_000) == data(2, bytes(70_000)).wire[:12]
    assert stream.send_window == INITIAL_WINDOW - 70_000
    assert harness.take_output() == []


def test_the_window_can_be_spent_to_its_end_and_not_a_byte_further() -> None:
    harness = SessionHarness()
    stream = accepted(harness)
    stream.write(bytes(INITIAL_WINDOW))
    assert stream.send_window == 0
    before = bytes(harness.session.out)
    for attempt in (lambda: stream.write(b"x"), lambda: stream.data_header(1)):
        with pytest.raises(MisuseError, match="1 bytes to send, window 0"):
            attempt()
    assert stream.send_window == 0
    assert harness.session.out == before, "a refused write leaves no half frame behind"
    stream.credit(1)
    stream.write(b"x")


def test_nothing_is_written_after_the_end() -> None:
    harness = SessionHarness()
    stream = accepted(harness)
    stream.end()
    with pytest.raises(MisuseError, match="ended True"):
        stream.write(b"x")
    assert harness.take_output() == [data(2, b"", FIN)]


def test_the_end_is_sent_once_and_the_stream_is_removed_after_both_ends() -> None:
    harness = SessionHarness()
    stream = accepted(harness)
    stream.end()
    stream.end()
    assert (stream.local_ended, stream.gone) == (True, False)
    assert harness.take_output() == [data(2, b"", FIN)]
    harness.receive(data(2, b"", FIN))
    assert stream.gone
    assert 2 not in harness.session.streams

    other = SessionHarness()
    stream = accepted(other, data(2, b"", FIN))
    assert (stream.peer_ended, stream.gone) == (True, False)
    stream.write(b"still talking")
    stream.end()
    assert stream.gone
    assert other.take_output() == [data(2, b"still talking"), data(2, b"", FIN)]


def test_a_reset_is_sent_once_and_ends_everything_else() -> None:
    harness = SessionHarness()
    stream = accepted(harness)
    stream.reset()
    stream.reset()
    stream.end()
    stream.grant(0.0)
    assert stream.gone
    assert not stream.local_ended
    assert harness.take_output() == [data(2, b"", RST)]
    assert stream.resets == 0, "who resets is not told of it"


def test_credit_is_granted_for_what_was_read_and_never_after_the_peers_end() -> None:
    harness = SessionHarness()
    stream = accepted(harness, data(2, bytes(INITIAL_WINDOW // 2)))
    stream.consume(INITIAL_WINDOW // 2, 0.0)
    assert harness.take_output() == [update(2, INITIAL_WINDOW // 2)]
    assert stream.receive_window.left == INITIAL_WINDOW
    harness.receive(data(2, bytes(INITIAL_WINDOW // 2), FIN))
    stream.consume(INITIAL_WINDOW // 2, 0.0)
    assert harness.take_output() == []


def test_credit_wakes_a_writer_only_when_he_had_none() -> None:
    stream = accepted(SessionHarness())
    stream.credit(10)
    assert stream.credits == 0
    stream.data_header(INITIAL_WINDOW + 10)
    stream.credit(0)
    assert stream.credits == 0, "no credit is no news"
    stream.credit(5)
    stream.credit(5)
    assert stream.credits == 1
    assert stream.send_window == 10


@given(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1))
@example(2**32 - 1 - INITIAL_WINDOW, 1)
def test_credit_never_exceeds_the_largest_window(first: int, second: int) -> None:
    stream = accepted(SessionHarness())
    window = INITIAL_WINDOW
    for count in (first, second):
        if window + count > 2**32 - 1:
            with pytest.raises(PeerError, match=r"exceeds 2\^32 - 1"):
                stream.credit(count)
            assert stream.send_window == window, "a refused update changes nothing"
            return
        stream.credit(count)
        window += count
    assert stream.send_window == window


@given(st.lists(st.tuples(st.sampled_from(["write", "credit", "end", "reset", "grant", "announce"]), st.integers(0, 100_000)), max_size=40))
def test_output_is_always_valid_and_within_the_window(steps: list[tuple[str, int]]) -> None:
    harness = SessionHarness()
    stream = opened(harness)
    granted = INITIAL_WINDOW
    for name, count in steps:
        match name:
            case "write":
                if count <= stream.send_window and not stream.local_ended and not stream.gone:
                    stream.write(bytes(count))
            case "credit":
                stream.credit(count)
                granted += count
            case "end":
                stream.end()
            case "reset":
                stream.reset()
            case "grant":
                stream.grant(0.0)
            case _:
                stream.announce(opened_here=True)
    frames = all_frames(harness.session.out)
    sent = sum(frame.length for frame in frames if frame.type == DATA)
    assert sent + stream.send_window == granted
    assert [bool(frame.flags & SYN) for frame in frames] == [True, *[False] * (len(frames) - 1)][: len(frames)]
    lasts = [at for at, frame in enumerate(frames) if frame.flags & RST]
    assert lasts in ([], [len(frames) - 1]), "nothing is said after a reset"
    ends = [at for at, frame in enumerate(frames) if frame.flags & FIN]
    assert len(ends) <= 1
    if ends:
        assert not any(frame.type == DATA and frame.length for frame in frames[ends[0] + 1 :])
    assert all(frame.type in (DATA, WINDOW_UPDATE) for frame in frames)


def test_output_is_announced_before_its_first_byte_and_once() -> None:
    harness = SessionHarness()
    stream = accepted(harness)
    before = harness.output_calls
    stream.write(b"a")
    stream.write(b"b")
    stream.end()
    assert harness.output_calls == before + 1
    harness.take_output()
    stream.reset()
    assert harness.output_calls == before + 2


def test_callbacks_of_the_base_class_are_not_implemented() -> None:
    stream = Stream(SessionHarness().session, 1)
    with pytest.raises(NotImplementedError):
        stream.deliver(memoryview(b"x"))
    for call in (stream.on_credit, stream.on_peer_fin, stream.on_reset):
        with pytest.raises(NotImplementedError):
            call()
