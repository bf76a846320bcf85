"""The mux against a hand-written peer: output, robustness, bounds, and loss of the link."""

import random
import socket
from collections.abc import Iterator
from functools import partial
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portway.engine.channel import HEADROOM_BYTES
from portway.engine.memory_channel import memory_pair
from portway.engine.reactor import TLS_TURN_BYTES, TURN_BYTES
from portway.errors import BrokenChannel, UnavailableError
from portway.mux import mux_channel
from portway.mux.buffer_budget import ProcessBufferBudget, SessionBufferBudget
from portway.mux.heartbeat import HeartbeatSettings
from portway.mux.mux import OUT_BYTES_MAX, Mux
from portway.mux.mux_channel import MuxChannel
from portway.mux.settings import EARLY_FLUSH_BYTES, FRAME_BYTES_ALONE, FRAME_BYTES_SHARED, MuxSettings
from portway.protocol.work import JOINED_FRAME_WORK, TURN_WORK
from portway.protocol.yamux.limits import YamuxLimits
from tests.kit.certificates import Identity
from tests.kit.channels import tls_ends
from tests.kit.loops import EngineLoop
from tests.kit.probe import Probe
from tests.kit.yamux_peer import RawPeer
from tests.kit.yamux_wire import ACK, DATA, FIN, INITIAL_WINDOW, PING, RST, SYN, Frame, data, go_away, ping, update

KIB = 1024
MIB = 1024 * KIB


@pytest.fixture
def peer(engine: EngineLoop) -> Iterator[RawPeer]:
    """A peer by hand of a mux that is yamux client."""
    peer = RawPeer(engine, mux_is_client=True)
    yield peer
    peer.close()


def noise(size: int, seed: int = 7) -> bytes:
    return random.Random(seed).randbytes(size)


def wait(engine: EngineLoop, seconds: float) -> None:
    """Let time pass in the loop."""
    over: list[bool] = []
    engine.reactor.call_later(seconds, lambda: over.append(True))
    engine.run_until(lambda: bool(over), deadline_s=seconds + 5)


def start_reading(probe: Probe) -> None:
    probe.read()


# Frames -----------------------------------------------------------------------------------------------------------


def test_an_open_is_sent_at_the_end_of_the_batch(engine: EngineLoop, peer: RawPeer) -> None:
    stream = peer.mux.open()
    assert stream.stream_id == 1
    assert peer.receive_frames() == [update(1, flags=SYN)]
    assert peer.mux.streams_open == 1


def test_an_open_with_first_bytes_is_one_frame(peer: RawPeer) -> None:
    peer.mux.open(b"preamble")
    assert peer.receive_frames() == [data(1, b"preamble", SYN)]


def test_small_writes_of_a_batch_leave_in_one_piece(engine: EngineLoop, peer: RawPeer) -> None:
    streams = [peer.mux.open() for _ in range(50)]
    peer.receive_frames()
    peer.link.sends.clear()

    def write_all() -> None:
        for stream in streams:
            stream.send(b"x" * 10)

    engine.reactor.call_soon(write_all)
    assert len(peer.receive_frames()) == 50
    assert peer.link.sends == [50 * 22]


def test_many_small_writes_of_a_batch_do_not_wait_for_its_end(engine: EngineLoop, peer: RawPeer) -> None:
    """The other end can start with the first ones; the last are sent at the end all the same."""
    streams = [peer.mux.open() for _ in range(3)]
    peer.receive_frames()
    peer.link.sends.clear()
    in_time: list[int] = []

    def write_all() -> None:
        for turn in range(50):
            streams[turn % 3].send(b"%0200d" % turn)
        in_time.extend(peer.link.sends)

    engine.reactor.call_soon(write_all)
    assert len([frame for frame in peer.receive_frames() if frame.length]) == 50
    assert len(in_time) == 4
    assert all(EARLY_FLUSH_BYTES < size <= EARLY_FLUSH_BYTES + 212 for size in in_time)
    assert len(peer.link.sends) == 5


def test_a_large_write_is_sent_in_frames_that_window_and_link_allow(peer: RawPeer) -> None:
    writer = Probe(peer.mux.open())
    writer.piece_bytes = MIB
    writer.feed(noise(MIB))
    frames = [frame for frame in peer.receive_frames() if frame.type == DATA]
    assert sum(frame.length for frame in frames) == INITIAL_WINDOW
    assert b"".join(frame.body for frame in frames) == noise(MIB)[:INITIAL_WINDOW]
    peer.send(update(1, 2 * MIB))
    rest = b"".join(frame.body for frame in peer.receive_frames() if frame.type == DATA)
    assert rest == noise(MIB)[INITIAL_WINDOW:]
    assert writer.idle


def test_no_frame_is_longer_than_a_rust_peer_accepts(engine: EngineLoop, peer: RawPeer) -> None:
    writer = Probe(peer.mux.open())
    writer.piece_bytes = 8 * MIB
    peer.send(update(1, 16 * MIB))
    writer.feed(noise(8 * MIB))
    got = 0
    while got < 8 * MIB:
        for frame in peer.receive_frames():
            assert frame.length <= MIB
            got += len(frame.body)


def test_bulk_frames_stay_long_beside_other_bulk(engine: EngineLoop) -> None:
    """Transfers can wait for each other, and short frames cost more per byte; the small rests of their own do not count."""
    peer = RawPeer(engine, mux_is_client=True, buffer_bytes=64 * KIB)
    transfers = [Probe(peer.mux.open()) for _ in range(2)]
    for turn, transfer in enumerate(transfers):
        transfer.piece_bytes = 4 * MIB
        peer.send(update(1 + 2 * turn, 16 * MIB))
    peer.receive_frames()
    for transfer in transfers:
        transfer.feed(iter([noise(MIB), noise(5), noise(MIB), noise(300), noise(4 * MIB)]))
    frames: list[Frame] = []
    while len(frames) < 40:
        frames += peer.receive_frames()
    long = [frame.stream_id for frame in frames[-16:] if frame.length > 200 * KIB]
    assert long.count(1) > 4
    assert long.count(3) > 4
    peer.close()


def test_bulk_frames_shrink_while_another_stream_sends_small_ones(engine: EngineLoop) -> None:
    peer = RawPeer(engine, mux_is_client=True, buffer_bytes=64 * KIB)
    bulk, other = Probe(peer.mux.open()), peer.mux.open()
    bulk.piece_bytes = 4 * MIB
    peer.send(update(1, 16 * MIB))
    peer.receive_frames()
    bulk.feed(iter([noise(4 * MIB)] * 3))
    other.send(b"small")
    frames: list[Frame] = []
    while frame_after_small(frames) + 5 > len(frames):
        frames += peer.receive_frames()
    after = frames[frame_after_small(frames) :]
    assert max(frame.length for frame in after[1:5]) <= 64 * KIB
    peer.close()


def frame_after_small(frames: list[Frame]) -> int:
    """Return the place behind the small frame of stream 3."""
    return next((place + 1 for place, frame in enumerate(frames) if frame.stream_id == 3), len(frames))


def test_a_small_frame_overtakes_bulk_that_waits(engine: EngineLoop) -> None:
    peer = RawPeer(engine, mux_is_client=True, buffer_bytes=64 * KIB)
    bulk, quiet = Probe(peer.mux.open()), peer.mux.open()
    peer.send(update(1, 16 * MIB))
    peer.receive_frames()
    bulk.feed(iter([noise(MIB)] * 16))
    engine.settle()
    assert not bulk.idle
    assert quiet.room() > 0
    assert quiet.send(b"hello") == 5
    order = [frame.stream_id for frame in peer.receive_frames() if frame.type == DATA and frame.length]
    assert order.index(3) <= 4 + order.count(1) // 4
    peer.close()


# Limits for the peer -------------------------------------------------------------------------------------------


def test_a_stream_that_the_peer_opens_arrives_with_its_data(engine: EngineLoop, peer: RawPeer) -> None:
    peer.send(data(2, b"hello", SYN), data(2, b" there", FIN))
    assert peer.receive_frames() == [update(2, flags=ACK)]
    reader = Probe(peer.accepted[0]).read()
    engine.settle()
    assert reader.received == b"hello there"
    assert reader.ended


def test_a_read_ends_where_a_long_frame_does_so_that_the_next_one_arrives_in_one_piece(engine: EngineLoop) -> None:
    near, far = memory_pair(engine.reactor, MIB)
    pieces: list[tuple[int, int]] = []

    def accept(stream: MuxChannel) -> None:
        def read() -> None:
            while not mux.lost and (view := stream.peek()) is not None:
                pieces.append((stream.stream_id, len(view)))
                stream.consume(len(view))

        stream.on_readable = read

    mux = Mux(engine.reactor, near, client=True, on_stream=accept, on_lost=lambda why: None)
    far.send(b"".join(data(number, noise(200 * KIB), SYN).wire for number in (2, 4, 6)))
    engine.settle()
    first = TURN_BYTES - 200 * KIB - 2 * HEADROOM_BYTES
    assert pieces == [(2, 200 * KIB), (4, first), (4, 200 * KIB - first), (6, 200 * KIB)]
    mux.abort()
    far.abort()
    engine.settle()


def test_a_long_frame_fills_tls_records() -> None:
    assert (FRAME_BYTES_ALONE + HEADROOM_BYTES) % (16 * KIB) == (FRAME_BYTES_SHARED + HEADROOM_BYTES) % (16 * KIB) == 0
    assert FRAME_BYTES_ALONE + HEADROOM_BYTES == TURN_BYTES


def test_a_reader_set_in_on_stream_receives_data_of_the_same_batch(engine: EngineLoop, peer: RawPeer) -> None:
    readers: list[Probe] = []
    peer.mux._on_stream = lambda stream: readers.append(Probe(stream).read())
    peer.send(update(2, flags=SYN), data(2, b"at once", FIN))
    assert readers[0].received == b"at once"
    assert readers[0].ended


@pytest.mark.parametrize(
    "offence",
    [
        data(2, b"x" * (INITIAL_WINDOW + 1)),
        update(2, 2**32 - 1),
        update(2, flags=SYN),
        update(1, flags=SYN),
        data(0, b"x"),
        Frame(7, 0, 0),
        Frame(DATA, 0, 2, version=3),
    ],
)
def test_a_protocol_error_is_answered_with_go_away_and_ends_every_stream(engine: EngineLoop, offence: Frame) -> None:
    peer = RawPeer(engine, mux_is_client=True)
    peer.send(update(2, flags=SYN))
    reader = Probe(peer.accepted[0]).read()
    peer.receive_frames()
    peer.send_bytes(offence.wire[:12])
    assert peer.receive_frames()[-1:] == [go_away(1)]
    assert peer.ended
    assert reader.broken is not None
    assert not reader.ended
    assert len(peer.lost) == 1
    assert "yamux" in peer.lost[0]
    with pytest.raises(UnavailableError):
        peer.mux.open()
    peer.close()


def test_an_end_of_the_link_is_a_break_of_every_stream(engine: EngineLoop, peer: RawPeer) -> None:
    peer.send(data(2, b"half an ans", SYN))
    reader = Probe(peer.accepted[0]).read()
    writer = Probe(peer.mux.open())
    peer.receive_frames()
    peer.sock.shutdown(1)
    engine.settle()
    assert reader.broken is not None
    assert reader.received == b"half an ans"
    assert writer.on_broken_calls
    assert peer.lost == ["the other end closed the link"]
    with pytest.raises(BrokenChannel):
        writer.channel.send(b"x")


def test_a_go_away_stops_opens_and_does_not_affect_streams(engine: EngineLoop, peer: RawPeer) -> None:
    stream = Probe(peer.mux.open()).read()
    peer.send(go_away(0))
    with pytest.raises(UnavailableError, match="going away"):
        peer.mux.open()
    peer.send(data(1, b"still here", ACK | FIN))
    assert stream.received == b"still here"
    assert not peer.lost


def test_own_go_away_resets_streams_that_are_opened_afterwards(peer: RawPeer) -> None:
    peer.mux.go_away()
    peer.send(update(2, flags=SYN))
    assert peer.receive_frames() == [go_away(0), update(2, flags=RST)]


def test_links_of_a_session_share_their_budgets(engine: EngineLoop, peer: RawPeer) -> None:
    other = RawPeer(engine, mux_is_client=False)
    other.mux.share_budgets(peer.mux)
    assert other.mux.buffers is peer.mux.buffers
    assert other.mux.yamux.growth is peer.mux.yamux.growth
    other.send(data(1, b"kept by nobody's reader", SYN))
    engine.run_until(lambda: bool(other.accepted))
    assert peer.mux.buffers.bytes == 23
    other.close()
    assert peer.mux.buffers.bytes == 0


def test_closing_sends_go_away_and_calls_on_lost_once(engine: EngineLoop, peer: RawPeer) -> None:
    stream = Probe(peer.mux.open()).read()
    peer.receive_frames()
    peer.mux.close("revoked")
    peer.mux.close("again")
    peer.mux.abort("and again")
    assert peer.receive_frames() == [go_away(0)]
    assert peer.ended
    assert peer.lost == ["revoked"]
    assert stream.broken is not None


def test_a_flood_of_tiny_frames_leaves_turns_to_others(engine: EngineLoop, peer: RawPeer) -> None:
    """One turn of one-byte frames would be 20,000 calls of a stream: others must not have to wait for all of them."""
    reader = Probe(peer.mux.open()).read()
    peer.receive_frames()
    crumbs = 20_000
    seen: list[int] = []

    def check() -> None:
        seen.append(reader.received_bytes)
        if reader.received_bytes < crumbs:
            engine.reactor.call_soon_charged(engine.reactor.unassigned, check)

    engine.reactor.call_soon_charged(engine.reactor.unassigned, check)
    peer.send_bytes(b"".join(data(1, b"x").wire for _ in range(crumbs)))
    engine.settle()
    assert seen[-1] == crumbs
    assert max(after - before for before, after in pairwise(seen)) <= 2 * TURN_WORK // JOINED_FRAME_WORK, (
        "a turn of the link, perhaps one that an event asked for before"
    )


@given(cuts=st.lists(st.integers(1, 300), max_size=20))
def test_nothing_is_lost_or_mixed_up_between_the_turns(cuts: list[int]) -> None:
    """The rest of what was read waits until its turn, also when the link breaks meanwhile."""
    engine = EngineLoop()
    peer = RawPeer(engine, mux_is_client=False)
    wire = b"".join(data(1, b"%05d" % number, SYN if number == 0 else 0).wire for number in range(3000)) + data(1, b"", FIN).wire
    for size in cuts:
        peer.sock.send(wire[:size])
        wire = wire[size:]
        engine.settle()
    peer.sock.send(wire)
    peer.sock.shutdown(socket.SHUT_WR)
    engine.run_until(lambda: bool(peer.accepted))
    reader = Probe(peer.accepted[0]).read()
    engine.run_until(lambda: reader.ended)
    assert reader.received == b"".join(b"%05d" % number for number in range(3000))
    engine.run_until(lambda: bool(peer.lost))
    peer.close()
    engine.close()


def test_a_link_closed_by_its_own_decoders_callback_is_lost_once(engine: EngineLoop, peer: RawPeer) -> None:
    peer.mux._on_stream = lambda stream: peer.mux.close("nobody may come in")
    peer.send_bytes(update(2, flags=SYN).wire + b"\xff" * 40)
    assert peer.lost == ["nobody may come in"]


def test_a_slow_stream_holds_up_no_other(engine: EngineLoop, peer: RawPeer) -> None:
    peer.send(update(2, flags=SYN), update(4, flags=SYN))
    stalled, live = Probe(peer.accepted[0]), Probe(peer.accepted[1]).read()
    peer.send(data(2, bytes(INITIAL_WINDOW)))
    for _ in range(64):
        peer.send(data(4, noise(64 * KIB)))
        peer.receive_frames()
    assert live.received_bytes == 4 * MIB
    assert peer.mux.buffers.bytes == INITIAL_WINDOW
    stalled.read()
    engine.settle()
    assert stalled.received_bytes == INITIAL_WINDOW
    assert peer.mux.buffers.bytes == 0


def test_too_many_stalled_readers_cost_the_longest_stalled_its_stream(engine: EngineLoop) -> None:
    peer = RawPeer(engine, mux_is_client=True, settings=MuxSettings(buffered_bytes_max=MIB))
    for number in range(2, 14, 2):
        peer.send(update(number, flags=SYN))
    readers = [Probe(stream) for stream in peer.accepted]
    peer.receive_frames()
    for number in range(2, 14, 2):
        peer.send(data(number, bytes(200 * KIB)))
    assert peer.receive_frames() == [data(2, b"", RST)]
    assert peer.mux.buffers.bytes <= MIB
    assert readers[0].on_broken_calls, "its owner must hear of it: a relay would wait for ever"
    readers[0].read()
    assert readers[0].broken is not None
    assert not readers[1].on_broken_calls
    peer.close()


@pytest.mark.parametrize("finished_here", [False, True])
def test_stalled_readers_of_streams_that_have_ended_are_bounded_too(engine: EngineLoop, finished_here: bool) -> None:
    """The whole response and its FIN have arrived: such a stream is half closed, or removed from the session, and still buffers."""
    peer = RawPeer(engine, mux_is_client=True, settings=MuxSettings(buffered_bytes_max=MIB))
    streams = [peer.mux.open() for _ in range(12)]
    readers = [Probe(stream) for stream in streams]
    peer.receive_frames()
    for stream in streams:
        peer.send(data(stream.stream_id, bytes(200 * KIB), FIN))
        if finished_here:
            stream.shutdown_write()
    assert sum(len(stream._buffered or b"") for stream in streams) <= MIB
    assert [bool(reader.on_broken_calls) for reader in readers] == [True] * 7 + [False] * 5
    for reader in readers:
        reader.read()
    assert readers[0].broken is not None
    assert not readers[0].ended, "what was thrown away must not look complete"
    assert readers[-1].ended
    assert peer.mux.buffers.bytes == 0
    peer.close()


def test_a_bug_in_one_streams_callback_ends_that_stream_and_not_the_link(engine: EngineLoop, peer: RawPeer) -> None:
    engine.tolerant = True
    peer.send(update(2, flags=SYN), update(4, flags=SYN))
    peer.receive_frames()

    def fail() -> None:
        raise RuntimeError("a bug")

    peer.accepted[0].on_readable = fail
    good = Probe(peer.accepted[1]).read()
    peer.send(data(2, b"x"), data(4, b"hello"))
    peer.send(data(4, b" there"))
    assert good.received == b"hello there"
    assert not peer.lost
    assert peer.receive_frames() == [data(2, b"", RST)]
    assert engine.logged_errors >= 1


def test_a_bug_in_on_stream_resets_that_stream_and_not_the_link(engine: EngineLoop, peer: RawPeer) -> None:
    engine.tolerant = True

    def fail(stream: MuxChannel) -> None:
        raise RuntimeError("a bug")

    good, peer.mux._on_stream = peer.mux._on_stream, fail
    peer.send(data(2, b"x", SYN))
    peer.mux._on_stream = good
    peer.send(update(4, flags=SYN))
    assert not peer.lost
    assert [stream.stream_id for stream in peer.accepted] == [4]
    assert data(2, b"", RST) in peer.receive_frames()


# Ends of streams --------------------------------------------------------------------------------------------------


def test_closing_a_stream_that_both_have_ended_sends_nothing(engine: EngineLoop, peer: RawPeer) -> None:
    stream = peer.mux.open()
    peer.send(data(1, b"", ACK | FIN))
    stream.shutdown_write()
    stream.close()
    assert peer.receive_frames() == [update(1, flags=SYN), data(1, b"", FIN)]
    assert peer.mux.streams_open == 0


def test_closing_an_unfinished_stream_resets_it(engine: EngineLoop, peer: RawPeer) -> None:
    peer.mux.open().close()
    assert peer.receive_frames() == [update(1, flags=SYN), data(1, b"", RST)]
    assert peer.mux.streams_open == 0


def test_a_reset_after_the_peers_own_end_loses_none_of_its_data(engine: EngineLoop, peer: RawPeer) -> None:
    """`close` after `shutdown_write` resets the direction that is no longer read; the properly ended direction is complete."""
    peer.send(update(2, flags=SYN))
    reader = Probe(peer.accepted[0])
    peer.send(data(2, b"the whole answer", FIN), data(2, b"", RST))
    reader.read()
    engine.settle()
    assert reader.received == b"the whole answer"
    assert reader.ended


def test_a_reset_after_the_peers_own_end_is_reported_to_a_waiting_writer(
    engine: EngineLoop, peer: RawPeer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relay whose visitor sends nothing more would never end: nothing makes it try to send."""
    monkeypatch.setattr(mux_channel, "RESET_NOTICE_S", 0.1)
    peer.send(update(2, flags=SYN), update(4, flags=SYN))
    prompt, slow = Probe(peer.accepted[0]).read(), Probe(peer.accepted[1])
    peer.send(data(2, b"the whole", FIN), data(4, b"answer", FIN))
    peer.send(data(2, b"", RST), data(4, b"", RST))
    assert prompt.ended
    assert not prompt.on_broken_calls, "who sits behind the reader may still be getting the rest"
    engine.run_until(lambda: prompt.on_broken_calls > 0)
    assert not slow.on_broken_calls
    slow.read()
    assert slow.received == b"answer"
    assert slow.ended
    engine.run_until(lambda: slow.on_broken_calls > 0)


def test_a_writer_finds_a_dead_stream_also_while_the_link_is_blocked(engine: EngineLoop) -> None:
    """A lost link is never unblocked: a stream that waited for that would wait for ever."""
    peer = RawPeer(engine, mux_is_client=True, buffer_bytes=64 * KIB)
    writer = Probe(peer.mux.open())
    writer.piece_bytes = MIB
    peer.send(update(1, 64 * MIB), data(1, b"", FIN))
    writer.feed(iter([noise(MIB)] * 64))
    engine.settle()
    assert peer.mux.blocked
    assert not writer.idle
    peer.mux.abort("cut")
    assert writer.broken is not None
    peer.close()


def test_a_reset_with_unread_bytes_is_a_break_at_once(engine: EngineLoop, peer: RawPeer) -> None:
    peer.send(data(2, b"half", SYN))
    reader = Probe(peer.accepted[0])
    peer.send(data(2, b"", RST))
    assert reader.on_broken_calls
    reader.read()
    assert reader.broken is not None
    assert not reader.ended
    assert peer.mux.buffers.bytes == 0


def test_ten_thousand_streams_one_after_the_other_leave_nothing(engine: EngineLoop, peer: RawPeer) -> None:
    for start in range(1, 10_001, 500):
        opened = [peer.mux.open(b"question") for _ in range(500)]
        peer.send(*(frame for stream in opened for frame in (data(stream.stream_id, b"answer", ACK | FIN),)))
        for stream in opened:
            reader = Probe(stream).read()
            assert reader.ended
            stream.shutdown_write()
            stream.close()
        assert peer.mux.streams_open == 0, start
        peer.receive_frames()
    assert not peer.mux.buffers._buffered
    assert not peer.mux._waiting


# Floods -----------------------------------------------------------------------------------------------------------


def flood(peer: RawPeer, wire: bytes, rounds: int) -> int:
    """Send frames of 12 bytes without reading anything, until the mux stops reading or ends; return how many bytes it accepted."""
    taken = 0
    for _ in range(rounds):
        view = memoryview(bytes(peer.unsent_pongs) + wire)
        peer.unsent_pongs.clear()
        while view:
            try:
                sent = peer.sock.send(view)
            except BlockingIOError:
                before = peer.mux.bytes_in
                peer.engine.settle()
                if peer.mux.bytes_in == before:
                    peer.unsent_pongs += view[: len(view) % 12]  # the rest of a frame that was cut: the next one stays valid
                    return taken
                continue
            except ConnectionError:
                return taken
            taken += sent
            view = view[sent:]
        peer.engine.settle()
        if peer.mux.lost:
            return taken
    return taken


def test_a_ping_storm_ends_the_link(engine: EngineLoop) -> None:
    peer = RawPeer(engine, mux_is_client=True)
    flood(peer, ping(1).wire * 1000, 10)
    assert peer.lost
    assert "pings" in peer.lost[0]
    peer.close()


def test_a_flood_of_empty_frames_ends_the_link(engine: EngineLoop) -> None:
    peer = RawPeer(engine, mux_is_client=True)
    peer.send(update(2, flags=SYN))
    flood(peer, data(2).wire * 5000, 10)
    assert peer.lost
    assert "do nothing" in peer.lost[0]
    peer.close()


def test_a_syn_flood_is_bounded_in_streams_and_output(engine: EngineLoop) -> None:
    settings = MuxSettings(limits=YamuxLimits(accepts_max=100, opens_per_s_max=10**9))
    peer = RawPeer(engine, mux_is_client=True, settings=settings, buffer_bytes=64 * KIB)
    wire = b"".join(update(number, flags=SYN).wire for number in range(2, 200_000, 2))
    flood(peer, wire, 1)
    assert len(peer.accepted) == 100
    assert peer.mux.streams_open == 100
    peer.receive_frames()
    flood(peer, b"".join(update(number, flags=SYN).wire for number in range(200_000, 1_000_000, 2)), 1)
    assert len(peer.mux.yamux.out) <= OUT_BYTES_MAX + 2 * 256 * KIB
    assert not peer.lost
    peer.close()


def test_a_peer_that_asks_and_never_reads_is_not_read_any_more(engine: EngineLoop) -> None:
    """CVE-2024-32984: answers must not pile up behind a peer that does not take them."""
    settings = MuxSettings(limits=YamuxLimits(pings_per_s_max=10**9))
    peer = RawPeer(engine, mux_is_client=True, settings=settings, buffer_bytes=64 * KIB)
    taken = flood(peer, ping(1).wire * 20_000, 100)
    assert taken < 8 * MIB
    assert len(peer.mux.yamux.out) <= OUT_BYTES_MAX + 2 * 256 * KIB
    assert not peer.lost
    answers = 0
    while answers * 12 < taken - 200 * KIB:
        got = sum(1 for frame in peer.receive_frames(with_pings=True) if frame == ping(1, ACK))
        assert got, "it goes on when the peer reads again"
        answers += got
    peer.close()


def test_a_reset_flood_leaves_nothing(engine: EngineLoop) -> None:
    settings = MuxSettings(limits=YamuxLimits(opens_per_s_max=10**9, resets_per_s_max=10**9))
    peer = RawPeer(engine, mux_is_client=True, settings=settings)
    for block in range(20):
        numbers = range(2 + block * 4000, 2 + (block + 1) * 4000, 2)
        peer.send_bytes(
            b"".join(update(number, flags=SYN).wire + data(number, b"x").wire + data(number, b"", RST).wire for number in numbers)
        )
        peer.receive_frames()
    assert len(peer.accepted) == 40_000
    assert peer.mux.streams_open == 0
    assert peer.mux.buffers.bytes == 0
    peer.close()


# Pings and silence ------------------------------------------------------------------------------------------------

QUICK = MuxSettings(heartbeat=HeartbeatSettings(silence_s_max=1.0, ping_every_s=0.2))


class Hand:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_ping_measures_the_round_trip(engine: EngineLoop, peer: RawPeer) -> None:
    trips: list[float] = []
    peer.mux.ping(trips.append)
    peer.receive_frames()
    engine.run_until(lambda: bool(trips))
    assert 0 <= trips[0] < 5
    assert peer.mux.rtt_s is not None
    assert peer.mux.rtt_s <= trips[0]


def test_the_link_pings_by_itself_and_answers(engine: EngineLoop, peer: RawPeer) -> None:
    assert [(frame.type, frame.flags) for frame in peer.receive_frames(with_pings=True)] == [(PING, SYN)]
    peer.send(ping(77))
    assert ping(77, ACK) in peer.receive_frames(with_pings=True)


@pytest.fixture
def quick_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("portway.mux.link_watchdog.CHECK_EVERY_S", 0.05)


@pytest.mark.usefixtures("quick_checks")
def test_a_silent_peer_is_detected_in_time(engine: EngineLoop) -> None:
    peer = RawPeer(engine, mux_is_client=True, settings=QUICK)
    reader = Probe(peer.mux.open()).read()
    engine.run_until(lambda: bool(peer.lost), deadline_s=5)
    assert "nothing received" in peer.lost[0]
    assert reader.broken is not None
    peer.close()


@pytest.mark.usefixtures("quick_checks")
def test_a_peer_that_only_answers_pings_is_alive(engine: EngineLoop) -> None:
    peer = RawPeer(engine, mux_is_client=True, settings=QUICK)
    for _ in range(18):
        peer.receive_frames()
        wait(engine, 0.05)
    assert not peer.lost
    peer.close()


@pytest.mark.usefixtures("quick_checks")
def test_a_peer_that_sends_bulk_and_no_pongs_is_alive(engine: EngineLoop) -> None:
    peer = RawPeer(engine, mux_is_client=True, settings=QUICK)
    peer.answer_pings = False
    peer.send(update(2, flags=SYN))
    Probe(peer.accepted[0]).read()
    for _ in range(12):
        peer.send(data(2, b"more"))
        wait(engine, 0.1)
    assert not peer.lost
    peer.close()


def test_own_sleep_is_not_the_peers_silence(engine: EngineLoop) -> None:
    """After SIGSTOP or the sleep of a laptop, arrived data must be handled before the clock is checked."""
    clock = Hand()
    near, far = memory_pair(engine.reactor)
    lost: list[str] = []
    settings = MuxSettings(heartbeat=HeartbeatSettings(silence_s_max=12.0, ping_every_s=4.0))
    mux = Mux(engine.reactor, near, client=True, settings=settings, on_stream=lambda stream: None, on_lost=lost.append, clock=clock)
    engine.settle()
    clock.now += 60
    far.send(ping(5).wire)
    mux._watchdog.beat()
    engine.settle()
    assert not lost
    mux.close("over")
    far.close()


def test_pongs_that_were_never_asked_for_change_nothing(engine: EngineLoop, peer: RawPeer) -> None:
    peer.receive_frames()
    peer.send(*(ping(number, ACK) for number in range(5000, 5100)))
    assert peer.mux.rtt_s is None or peer.mux.rtt_s < 5
    assert not peer.lost


# Two muxes --------------------------------------------------------------------------------------------------------


def two(engine: EngineLoop, capacity_bytes: int = 65536) -> tuple[Mux, Mux, list[MuxChannel], list[str]]:
    near, far = memory_pair(engine.reactor, capacity_bytes)
    arrived: list[MuxChannel] = []
    lost: list[str] = []
    client = Mux(engine.reactor, near, client=True, on_stream=arrived.append, on_lost=lost.append)
    server = Mux(engine.reactor, far, client=False, on_stream=arrived.append, on_lost=lost.append)
    return client, server, arrived, lost


def test_sixty_four_streams_that_echo_over_a_narrow_link_never_hang(engine: EngineLoop) -> None:
    """rust-yamux #102, hashicorp #142: both ends blocked on writing must still read (threats Y3)."""
    client, server, arrived, lost = two(engine, capacity_bytes=10_000)
    dice = random.Random(3)
    mine = [Probe(client.open()) for _ in range(64)]
    engine.run_until(lambda: len(arrived) == 64)
    theirs = [Probe(stream) for stream in arrived]
    for number, (here, there) in enumerate(zip(mine, theirs, strict=True)):
        here.piece_bytes = there.piece_bytes = dice.choice([1000, 16_000, 100_000])
        here.read().feed(noise(300_000, number), end=True)
        there.feed(noise(300_000, 100 + number), end=True)
        if dice.random() < 0.5:
            there.read()
        else:
            engine.reactor.call_later(dice.random() * 0.3, partial(start_reading, there))
    engine.run_until(lambda: all(probe.ended for probe in [*mine, *theirs]), deadline_s=30)
    for number, (here, there) in enumerate(zip(mine, theirs, strict=True)):
        assert here.received == noise(300_000, 100 + number)
        assert there.received == noise(300_000, number)
        here.close()
        there.close()
    assert (client.streams_open, server.streams_open) == (0, 0)
    assert not lost
    client.close("over")
    engine.settle()
    assert lost == ["over", "the other end closed the link"]


def test_waiting_streams_get_their_turns_evenly(engine: EngineLoop) -> None:
    client, _server, arrived, _lost = two(engine, capacity_bytes=20_000)
    writers = [Probe(client.open()) for _ in range(8)]
    engine.run_until(lambda: len(arrived) == 8)
    readers = [Probe(stream).read() for stream in arrived]
    for writer in writers:
        writer.feed(iter([noise(MIB)] * 8))
    engine.run_until(lambda: sum(reader.received_bytes for reader in readers) > 16 * MIB, deadline_s=20)
    shares = sorted(reader.received_bytes for reader in readers)
    assert shares[0] > shares[-1] / 3
    client.close("over")
    engine.settle()


def test_a_window_that_grew_is_used(engine: EngineLoop) -> None:
    client, _server, arrived, _lost = two(engine, capacity_bytes=8 * MIB)
    writer = Probe(client.open())
    engine.run_until(lambda: len(arrived) == 1)
    reader = Probe(arrived[0]).read()
    writer.feed(noise(3 * MIB))
    engine.run_until(lambda: reader.received_bytes == 3 * MIB)
    reader.pause()
    before = writer.sent_bytes
    writer.feed(iter([noise(MIB)] * 8))
    engine.settle()
    assert writer.sent_bytes - before >= MIB // 2
    assert arrived[0].receive_window.size >= MIB
    client.close("over")
    engine.settle()


def test_links_of_a_session_share_the_budget_of_stalled_readers(engine: EngineLoop) -> None:
    buffers = SessionBufferBudget(300 * KIB)
    ends = []
    for _ in range(2):
        near, far = memory_pair(engine.reactor, MIB)
        arrived: list[MuxChannel] = []
        client = Mux(engine.reactor, near, client=True, on_stream=arrived.append, on_lost=lambda reason: None)
        server = Mux(engine.reactor, far, client=False, on_stream=arrived.append, on_lost=lambda reason: None, buffers=buffers)
        writer = Probe(client.open())
        engine.settle()
        reader = Probe(arrived[0])
        writer.feed(noise(200 * KIB))
        engine.settle()
        ends.append((client, server, writer, reader))
    assert buffers.bytes <= 300 * KIB
    assert ends[0][3].on_broken_calls
    assert not ends[1][3].on_broken_calls
    assert ends[0][2].on_broken_calls, "the sender hears of it too"
    for client, _, _, _ in ends:
        client.close("over")
    engine.settle()


def test_stalled_readers_of_all_links_share_a_bound_and_the_largest_link_is_evicted_from(engine: EngineLoop) -> None:
    settings = MuxSettings(process_budget=ProcessBufferBudget(MIB))
    modest, greedy = (RawPeer(engine, mux_is_client=True, settings=settings) for _ in range(2))
    modest.send(data(2, bytes(200 * KIB), SYN))
    bystander = Probe(modest.accepted[0])
    for number in range(2, 20, 2):
        greedy.send(data(number, bytes(200 * KIB), SYN))
    assert modest.mux.buffers.bytes == 200 * KIB
    assert greedy.mux.buffers.bytes <= 824 * KIB
    assert not bystander.on_broken_calls
    greedy.mux.abort("gone")
    assert settings.process_budget is not None
    assert settings.process_budget.bytes == 200 * KIB
    modest.close()
    greedy.close()
    assert settings.process_budget.bytes == 0


def test_a_link_that_joins_transfers_its_buffered_bytes(engine: EngineLoop) -> None:
    """An agent may have sent more on its control stream than was read: left in the old budget, it would count for ever."""
    total = ProcessBufferBudget()
    first, joining = (RawPeer(engine, mux_is_client=True, settings=MuxSettings(process_budget=total)) for _ in range(2))
    joining.send(data(2, bytes(100 * KIB), SYN))
    reader = Probe(joining.accepted[0])
    joining.mux.share_budgets(first.mux)
    assert first.mux.buffers.bytes == total.bytes == 100 * KIB
    reader.read()
    assert reader.received_bytes == 100 * KIB
    assert first.mux.buffers.bytes == total.bytes == 0
    joining.close()
    first.close()


# The link breaks --------------------------------------------------------------------------------------------------


class Encrypted:
    """Two muxes on a TLS link whose cable a test may damage, and two streams that the near one opened."""

    def __init__(self, engine: EngineLoop, identity: Identity) -> None:
        near, far, self.wire = tls_ends(engine, identity, feed_bytes=TLS_TURN_BYTES)
        self.engine = engine
        self.arrived: list[MuxChannel] = []
        self.lost: list[str] = []
        self.mux = Mux(engine.reactor, near, client=True, on_stream=self.arrived.append, on_lost=self.lost.append)
        self.other = Mux(engine.reactor, far, client=False, on_stream=self.arrived.append, on_lost=lambda _: None)
        self.streams = self.mux.open(), self.mux.open()
        engine.run_until(lambda: len(self.arrived) == 2)
        engine.settle()

    def damage(self) -> None:
        """Let one read of the near link bring a whole record with data, and a damaged one behind it; TLS writes nothing after that."""
        self.wire.leftward.pause()
        for piece in (b"whole", b"damaged"):
            self.arrived[0].send(piece)
            self.engine.settle()
        self.wire.leftward.mangle = lambda data: data[:-1] + bytes([data[-1] ^ 1])
        self.wire.leftward.resume()
        self.engine.run_until(lambda: bool(self.lost))

    def close(self) -> None:
        self.other.abort()
        self.engine.settle()
        self.wire.close()


def test_a_link_whose_tls_breaks_during_a_bulk_frame_still_queues_resets(engine: EngineLoop, identity: Identity) -> None:
    """The handler of the error resets streams; the error must not reference the link's output, which has to grow."""
    link = Encrypted(engine, identity)
    bulk, small = link.streams
    broken: list[BrokenChannel] = []

    def answer() -> None:
        """Like a relay: a small frame is queued, a large one is sent at once, and meets the break."""
        if broken:
            return
        small.send(b"small")
        try:
            bulk.send(bytes(64 * KIB))
        except BrokenChannel as exc:
            broken.append(exc)
            small.abort()

    bulk.on_readable = answer
    link.damage()

    assert [str(exc).partition(":")[0] for exc in broken] == ["TLS broke"]
    link.close()


def test_a_link_that_breaks_during_an_early_flush_notifies_its_streams_later(engine: EngineLoop, identity: Identity) -> None:
    """The sender is in the middle of a call, like all its callers."""
    link = Encrypted(engine, identity)
    asked, innocent = link.streams
    heard: list[str] = []
    innocent.on_broken = lambda: heard.append("innocent")

    def answer() -> None:
        if heard:
            return
        for _ in range(2 * EARLY_FLUSH_BYTES // 100):
            assert asked.send(bytes(100)) == 100
        heard.append("asked")
        asked.abort()

    asked.on_readable = answer
    link.damage()

    assert heard == ["asked", "innocent"]
    assert len(link.lost) == 1
    link.close()
