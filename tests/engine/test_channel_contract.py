"""One suite for all kinds of channels: the rules of `portway.engine.channel`."""

import random
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portway.engine.channel import BLOCKED
from portway.errors import BrokenChannel
from tests.kit.certificates import Identity
from tests.kit.channels import KINDS, Pair, pair_of
from tests.kit.loops import EngineLoop
from tests.kit.probe import Probe

MIB = 1024 * 1024


CABLED = [kind for kind in KINDS if kind != "memory"]
TELLING_TRUNCATION = [kind for kind in KINDS if kind.startswith(("tls", "mux"))]
LENDING = [kind for kind in KINDS if kind.startswith("mux") or kind == "memory"]


def only(kinds: list[str]) -> pytest.MarkDecorator:
    """Run a test for the kinds with the required abilities."""
    return pytest.mark.parametrize("pair", kinds, indirect=True)


def noise(size: int, seed: int = 7) -> bytes:
    return random.Random(seed).randbytes(size)


@pytest.fixture(params=KINDS)
def pair(request: pytest.FixtureRequest, engine: EngineLoop, identity: Identity) -> Iterator[Pair]:
    with pair_of(request.param, engine, identity) as pair:
        yield pair


def probes(pair: Pair) -> tuple[Probe, Probe]:
    return Probe(pair.near), Probe(pair.far)


def test_bytes_pass_in_both_directions_at_once(engine: EngineLoop, pair: Pair) -> None:
    near, far = probes(pair)
    there, back = noise(3 * MIB, 1), noise(3 * MIB, 2)
    near.read().feed(there, end=True)
    far.read().feed(back, end=True)
    engine.run_until(lambda: near.ended and far.ended)
    assert far.received == there
    assert near.received == back


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=15)
@given(data=st.data())
def test_the_same_bytes_arrive_for_any_cut(kind: str, identity: Identity, data: st.DataObject) -> None:
    engine = EngineLoop()
    with pair_of(kind, engine, identity) as pair:
        near, far = probes(pair)
        message = noise(data.draw(st.integers(0, 200_000)), 3)
        near.piece_bytes = data.draw(st.sampled_from([1000, 1, 7, 4096, 16384, 65536, 1 << 20]))
        if near.piece_bytes == 1:
            message = message[:3000]
        far.read_bytes = data.draw(st.sampled_from([1000, 1, 13, 4096, 16384, 65536, 1 << 18]))
        far.use_peek = far.use_peek and data.draw(st.booleans())
        near.use_headroom = near.use_headroom and data.draw(st.booleans())
        if pair.cable_if_any is not None:
            pair.cable_if_any.rightward.piece_bytes = pair.cable_if_any.leftward.piece_bytes = data.draw(st.sampled_from([50, 997, 65536]))
        far.read()
        near.feed(message, end=True)
        engine.run_until(lambda: far.ended, deadline_s=20)
        assert far.received == message
    engine.close()


def test_a_first_read_without_bytes_returns_blocked(engine: EngineLoop, pair: Pair) -> None:
    engine.settle()
    assert pair.near.recv_into(memoryview(bytearray(10))) == BLOCKED
    assert not pair.near.readable
    assert pair.near.room() > 0


def test_the_end_that_finishes_first_still_receives(engine: EngineLoop, pair: Pair) -> None:
    near, far = probes(pair)
    near.read().feed(b"question", end=True)
    far.read()
    engine.run_until(lambda: far.ended)
    assert far.received == b"question"
    assert (near.ended, near.broken) == (False, None)
    answer = noise(MIB)
    far.feed(answer, end=True)
    engine.run_until(lambda: near.ended)
    assert near.received == answer
    assert (near.broken, far.broken) == (None, None)


def test_the_end_that_received_the_fin_may_continue_to_send(engine: EngineLoop, pair: Pair) -> None:
    near, far = probes(pair)
    far.feed(b"that is all from me", end=True)
    near.read()
    far.read()
    engine.run_until(lambda: near.ended)
    message = noise(MIB)
    near.feed(message, end=True)
    engine.run_until(lambda: far.ended)
    assert far.received == message


def test_an_end_follows_bytes_that_the_reader_has_not_taken_yet(engine: EngineLoop, pair: Pair) -> None:
    near, far = probes(pair)
    message = noise(30_000)
    near.feed(message, end=True)
    far.end()
    engine.settle()
    assert not far.ended
    far.read()
    near.read()
    engine.run_until(lambda: far.ended and near.ended)
    assert far.received == message


def test_ending_with_unread_bytes_in_hand_loses_none_of_them(engine: EngineLoop, pair: Pair) -> None:
    near, far = probes(pair)
    message = noise(30_000)
    far.feed(message)
    engine.settle()
    near.end()
    far.read()
    engine.run_until(lambda: far.ended)
    near.read()
    engine.run_until(lambda: len(near.received) == len(message))
    far.feed(b"more", end=True)
    engine.run_until(lambda: near.ended)
    assert near.received == message + b"more"


def test_both_may_end_at_once(engine: EngineLoop, pair: Pair) -> None:
    near, far = probes(pair)
    near.feed(b"a", end=True)
    far.feed(b"b", end=True)
    near.read()
    far.read()
    engine.run_until(lambda: near.ended and far.ended)
    assert near.received + far.received == b"ba"


def test_ending_twice_is_ending_once(engine: EngineLoop, pair: Pair) -> None:
    near, far = probes(pair)
    near.feed(b"bye", end=True).end()
    near.end()
    far.read()
    engine.run_until(lambda: far.ended)
    far.feed(b"bye too", end=True)
    near.read()
    engine.run_until(lambda: near.ended)
    assert near.received == b"bye too"
    assert near.broken is None


def test_an_end_waits_for_bytes_that_were_taken(engine: EngineLoop, pair: Pair) -> None:
    near, far = probes(pair)
    near.keep_received = far.keep_received = False
    while near.channel.room():
        taken = near.channel.send(noise(16384))
        near.sent_bytes += taken
        if not taken:
            break
    near.end()
    engine.settle()
    far.read()
    engine.run_until(lambda: far.ended)
    assert far.received_bytes == near.sent_bytes > 0


def test_ended_and_closed_still_delivers_everything_taken(engine: EngineLoop, pair: Pair) -> None:
    near, far = probes(pair)
    near.feed(noise(MIB), end=False)
    near.end().close()
    far.read()
    engine.run_until(lambda: far.ended or far.broken is not None)
    assert far.broken is None
    assert far.received == noise(MIB)[: near.sent_bytes]
    assert near.sent_bytes > 0


def test_an_abort_is_a_break_and_never_an_end(engine: EngineLoop, pair: Pair) -> None:
    near, far = probes(pair)
    far.read()
    near.feed(b"some bytes")
    engine.settle()
    near.abort()
    engine.run_until(lambda: far.ended or far.broken is not None)
    assert far.ended != pair.reports_resets
    assert b"some bytes".startswith(far.received)


def test_a_writer_sees_an_abort(engine: EngineLoop, pair: Pair) -> None:
    near, far = probes(pair)
    near.abort()
    engine.settle()

    def go_on_sending() -> None:
        for _ in range(3):
            far.channel.send(b"x")
            engine.settle()

    with pytest.raises(BrokenChannel):
        go_on_sending()


def test_a_paused_reader_is_notified_of_a_break(engine: EngineLoop, pair: Pair) -> None:
    near, far = probes(pair)
    near.feed(b"not yet read")
    engine.settle()
    if not pair.reports_resets:
        far.feed(b"unread, so that the close is visible")
        engine.settle()
    near.abort()
    if pair.reports_resets:
        engine.run_until(lambda: far.on_broken_calls > 0)
    far.read()
    engine.run_until(lambda: far.ended or far.broken is not None)
    assert (far.broken is not None) == pair.reports_resets


def test_a_stalled_writer_is_notified_of_a_break(engine: EngineLoop, pair: Pair) -> None:
    near, far = probes(pair)
    far.feed(noise(8 * MIB))
    engine.settle()
    assert not far.idle, "the path should be full"
    near.abort()
    engine.run_until(lambda: far.broken is not None or far.on_broken_calls > 0)


def test_a_stalled_writer_is_notified_when_the_reader_ends_and_closes(engine: EngineLoop, pair: Pair) -> None:
    near, far = probes(pair)
    far.feed(noise(8 * MIB))
    near.end()
    engine.settle()
    assert not far.idle, "the path should be full"
    near.close()
    engine.run_until(lambda: far.broken is not None or far.on_broken_calls > 0)


@only([kind for kind in CABLED if kind != "unix"])
def test_a_torn_cable_is_a_break_for_both(engine: EngineLoop, pair: Pair) -> None:
    near, far = probes(pair)
    near.read().feed(b"x")
    far.read()
    engine.settle()
    pair.cable.reset()
    engine.run_until(lambda: near.broken is not None and far.broken is not None)
    assert (near.ended, far.ended) == (False, False)


@only(CABLED)
def test_a_bare_fin_below_is_an_end_only_where_nothing_else_could_announce_it(engine: EngineLoop, pair: Pair) -> None:
    near, far = probes(pair)
    near.read().feed(b"first bytes")
    far.read()
    engine.settle()
    pair.cable.cut()
    engine.run_until(lambda: (near.ended or near.broken is not None) and (far.ended or far.broken is not None))
    assert far.received == b"first bytes"
    assert far.ended != pair.reports_truncation
    assert near.ended != pair.reports_truncation


@only(TELLING_TRUNCATION)
@pytest.mark.parametrize("in_one_piece", [True, False])
def test_bytes_before_a_bare_fin_do_not_make_it_an_end(engine: EngineLoop, pair: Pair, in_one_piece: bool) -> None:
    near, far = probes(pair)
    if in_one_piece:
        far.pause()
    else:
        far.read()
    near.feed(noise(20_000))
    engine.settle()
    pair.cable.cut()
    engine.settle()
    far.read()
    engine.run_until(lambda: far.ended or far.broken is not None)
    assert not far.ended
    with pytest.raises(BrokenChannel):
        far.channel.recv_into(memoryview(bytearray(10)))


@only(TELLING_TRUNCATION)
def test_a_cable_cut_inside_a_record_or_frame_is_a_break(engine: EngineLoop, pair: Pair) -> None:
    near, far = probes(pair)
    far.read()
    way = pair.direction_to_far
    way.piece_bytes = 1000
    before = way.carried_bytes
    near.feed(noise(60_000), end=True)
    engine.run_until(lambda: way.carried_bytes - before > 30_000)
    way.pause()
    pair.cable.cut()
    engine.run_until(lambda: far.ended or far.broken is not None)
    assert not far.ended
    assert noise(60_000).startswith(far.received)


def test_a_full_channel_calls_back_when_there_is_room_again(engine: EngineLoop, pair: Pair) -> None:
    near, far = probes(pair)
    far.keep_received = False
    near.feed(noise(8 * MIB), end=True)
    engine.settle()
    assert not near.idle
    assert near.channel.room() == 0
    stuck_at, calls = near.sent_bytes, near.callbacks
    engine.settle()
    assert near.callbacks == calls, "called without news"
    far.read()
    engine.run_until(lambda: far.ended)
    assert near.sent_bytes == far.received_bytes == 8 * MIB
    assert near.sent_bytes > stuck_at


def test_unread_bytes_are_bounded(engine: EngineLoop, pair: Pair) -> None:
    near, _far = probes(pair)
    near.feed(iter([noise(MIB)] * 64))
    engine.settle()
    assert not near.idle
    assert 0 < near.sent_bytes <= pair.buffered_bytes_max


def test_a_reader_that_pauses_and_resumes_gets_every_byte(engine: EngineLoop, pair: Pair) -> None:
    near, far = probes(pair)
    message = noise(4 * MIB)
    dice = random.Random(5)

    def go_on() -> None:
        far.read()

    def sometimes_pause() -> None:
        if dice.random() < 0.2 and far.reading:
            far.pause()
            engine.reactor.call_later(0.0, go_on)

    far.on_data = sometimes_pause
    far.read_bytes = 5000
    far.read()
    near.feed(message, end=True)
    engine.run_until(lambda: far.ended, deadline_s=15)
    assert far.received == message


def test_closing_and_aborting_may_be_done_twice(engine: EngineLoop, pair: Pair) -> None:
    near, far = probes(pair)
    near.close().close()
    near.abort()
    far.abort().abort()
    far.close()
    engine.settle()
    near.close()
    far.abort()
    engine.settle()


def test_no_callback_follows_a_close(engine: EngineLoop, pair: Pair) -> None:
    near, far = probes(pair)
    far.feed(noise(100_000))
    near.feed(noise(8 * MIB))
    engine.settle()
    near.close()
    before = near.callbacks
    far.read()
    engine.settle()
    far.abort()
    engine.settle()
    assert near.callbacks == before


def test_closing_inside_a_callback_is_safe(engine: EngineLoop, pair: Pair) -> None:
    near, far = probes(pair)

    def leave() -> None:
        near.close()

    near.on_data = leave
    near.read()
    far.feed(noise(100_000))
    engine.run_until(lambda: near._gone)
    engine.settle()


def test_aborting_inside_a_callback_is_safe(engine: EngineLoop, pair: Pair) -> None:
    near, far = probes(pair)

    def leave() -> None:
        near.abort()

    near.on_data = leave
    far.read()
    near.read()
    far.feed(noise(100_000))
    engine.run_until(lambda: near._gone)
    if pair.reports_resets:
        engine.run_until(lambda: far.broken is not None)


@only(LENDING)
def test_peek_returns_the_same_bytes_as_recv_into(engine: EngineLoop, pair: Pair) -> None:
    near, far = probes(pair)
    far.read_bytes = 1000
    dice = random.Random(1)

    def change_mind() -> None:
        far.use_peek = dice.random() < 0.5

    far.on_data = change_mind
    far.read()
    near.feed(noise(MIB), end=True)
    engine.run_until(lambda: far.ended)
    assert far.received == noise(MIB)


@only(LENDING)
def test_consuming_zero_bytes_drops_nothing(engine: EngineLoop, pair: Pair) -> None:
    pair.near.send(b"abcdef")
    engine.settle()
    for count, expected in ((0, b"abcdef"), (2, b"abcdef"), (0, b"cdef"), (4, b"cdef")):
        view = pair.far.peek()
        assert view is not None
        assert bytes(view) == expected
        pair.far.consume(count)
    assert pair.far.peek() is None
    assert not pair.far.ended


@only([kind for kind in CABLED if not kind.startswith("mux")])
def test_closed_ends_leave_no_descriptor(engine: EngineLoop, pair: Pair) -> None:
    pair.near.close()
    pair.far.abort()
    engine.settle()
    assert (pair.cable.left.fileno(), pair.cable.right.fileno()) == (-1, -1)
