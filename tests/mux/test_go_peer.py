"""The mux against hashicorp/yamux, as client and as server."""

import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from portway.errors import UnavailableError
from portway.mux.mux_channel import MuxChannel
from portway.mux.settings import MuxSettings
from portway.protocol.yamux.limits import YamuxLimits
from tests.kit.go_peer import GoPeer, build_go_peer
from tests.kit.loops import EngineLoop
from tests.kit.probe import Probe
from tests.kit.streams import blocks, stream_hash

KIB = 1024
MIB = 1024 * KIB
BULK_BYTES = int(os.environ.get("PORTWAY_TEST_BULK_BYTES", str(1024 * MIB)))
"""1 GiB by default."""

MakePeer = Callable[..., GoPeer]


@pytest.fixture(scope="session")
def program() -> Path:
    return build_go_peer()


@pytest.fixture(params=["go-client", "go-server"])
def make_peer(request: pytest.FixtureRequest, engine: EngineLoop, program: Path) -> Iterator[MakePeer]:
    peers: list[GoPeer] = []

    def make(*, settings: MuxSettings | None = None, flags: str = "") -> GoPeer:
        peers.append(GoPeer(engine, program, go_is_client=request.param == "go-client", settings=settings, flags=flags))
        return peers[-1]

    yield make
    for peer in peers:
        log = peer.close()
        assert "panic" not in log, log


@pytest.fixture
def go(make_peer: MakePeer) -> GoPeer:
    return make_peer()


def hash_of(data: bytes | bytearray) -> str:
    return f"{len(data)} {hashlib.sha256(data).hexdigest()}"


def opened_here(engine: EngineLoop, go: GoPeer, name: str = "a") -> MuxChannel:
    stream = go.mux.open()
    assert go.do(f"accept {name}") == str(stream.stream_id)
    return stream


def opened_there(engine: EngineLoop, go: GoPeer, name: str = "a") -> MuxChannel:
    before = len(go.accepted)
    number = go.do(f"open {name}")
    engine.run_until(lambda: len(go.accepted) > before)
    assert str(go.accepted[-1].stream_id) == number
    return go.accepted[-1]


OPENINGS = pytest.mark.parametrize("opened", [opened_here, opened_there])
StatusWaiter = Callable[[EngineLoop, GoPeer], MuxChannel]


@OPENINGS
def test_bytes_pass_in_both_directions_on_streams_of_either_end(engine: EngineLoop, go: GoPeer, opened: StatusWaiter) -> None:
    probe = Probe(opened(engine, go)).read()
    probe.feed(b"hello from here")
    assert go.do("recv a 15") == hash_of(b"hello from here")
    go.do(f"send a {b'hello from there'.hex()}")
    engine.run_until(lambda: probe.received == b"hello from there")


@OPENINGS
def test_half_close_here_first(engine: EngineLoop, go: GoPeer, opened: StatusWaiter) -> None:
    probe = Probe(opened(engine, go)).read()
    probe.feed(b"question", end=True)
    assert go.do("drain a") == hash_of(b"question")
    poured = go.start(f"pour a {3 * MIB}")
    digest = go.finish(poured)
    go.do("close a")
    engine.run_until(lambda: probe.ended)
    assert hash_of(probe.received) == f"{3 * MIB} {digest}"
    assert go.mux.streams_open == 0
    assert go.do("streams") == "0"


@OPENINGS
def test_half_close_there_first(engine: EngineLoop, go: GoPeer, opened: StatusWaiter) -> None:
    probe = Probe(opened(engine, go)).read()
    go.do(f"send a {b'that is all'.hex()}")
    go.do("close a")
    engine.run_until(lambda: probe.ended)
    probe.feed(blocks(3 * MIB), end=True)
    assert go.do("drain a") == f"{3 * MIB} {stream_hash(3 * MIB)}"
    assert go.mux.streams_open == 0


@OPENINGS
def test_our_reset_is_an_error_there(engine: EngineLoop, go: GoPeer, opened: StatusWaiter) -> None:
    probe = Probe(opened(engine, go))
    probe.feed(b"half an ans")
    assert go.do("recv a 11") == hash_of(b"half an ans")
    waiting = go.start("drain a")
    probe.abort()
    assert "reset" in go.failure(waiting)
    assert "reset" in go.failure(go.start(f"send a {b'x'.hex()}"))
    assert go.do("ping")


def test_their_reset_is_a_break_here(engine: EngineLoop, make_peer: MakePeer) -> None:
    go = make_peer(flags="-close-timeout 100ms")
    probe = Probe(opened_there(engine, go)).read()
    go.do("close a")
    engine.run_until(lambda: probe.ended)
    engine.run_until(lambda: go.mux.streams_open == 0)
    probe.feed(b"too late")
    assert probe.broken is not None
    assert go.do("ping")


def test_pings_are_answered_by_both_ends(engine: EngineLoop, go: GoPeer) -> None:
    trips: list[float] = []
    go.mux.ping(trips.append)
    engine.run_until(lambda: bool(trips))
    assert go.do("ping")
    assert 0 < trips[0] < 5
    assert go.mux.rtt_s is not None


def test_own_go_away_stops_their_opens_and_does_not_affect_streams(engine: EngineLoop, go: GoPeer) -> None:
    probe = Probe(opened_here(engine, go)).read()
    go.mux.go_away()
    engine.settle()
    go.do("ping")
    assert "remote end is not accepting" in go.failure(go.start("open b"))
    go.do(f"send a {b'still here'.hex()}")
    engine.run_until(lambda: probe.received == b"still here")
    assert not go.lost


def test_their_go_away_stops_own_opens_and_does_not_affect_streams(engine: EngineLoop, go: GoPeer) -> None:
    probe = Probe(opened_here(engine, go))
    go.do("goaway")
    engine.run_until(lambda: go.mux.yamux.going_away)
    with pytest.raises(UnavailableError, match="going away"):
        go.mux.open()
    probe.feed(b"still here")
    assert go.do("recv a 10") == hash_of(b"still here")
    assert not go.lost


def test_the_end_of_their_session_breaks_our_streams(engine: EngineLoop, go: GoPeer) -> None:
    probe = Probe(opened_here(engine, go)).read()
    go.do("end")
    engine.run_until(lambda: probe.broken is not None)
    assert len(go.lost) == 1
    assert not probe.ended


def test_the_end_of_our_session_breaks_theirs(engine: EngineLoop, go: GoPeer) -> None:
    opened_here(engine, go)
    waiting, accepting = go.start("drain a"), go.start("accept b")
    go.mux.close("maintenance")
    assert go.failure(accepting)
    engine.run_until(lambda: waiting.done)  # hashicorp/yamux reports a lost session to a reader as a plain end
    assert go.lost == ["maintenance"]


def test_a_stalled_reader_here_stops_the_writer_there_until_it_reads(engine: EngineLoop, go: GoPeer) -> None:
    probe = Probe(opened_there(engine, go))
    pouring = go.start(f"pour a {2 * MIB}")
    engine.run_until(lambda: go.mux.buffers.bytes == 256 * KIB)
    assert go.do("ping"), "the link is alive meanwhile"
    engine.settle()
    assert go.mux.buffers.bytes == 256 * KIB
    assert not pouring.done
    probe.read()
    digest = go.finish(pouring)
    engine.run_until(lambda: probe.received_bytes == 2 * MIB)
    assert hashlib.sha256(probe.received).hexdigest() == digest


def test_a_stalled_reader_there_stops_the_writer_here_until_it_reads(engine: EngineLoop, go: GoPeer) -> None:
    probe = Probe(opened_here(engine, go))
    probe.feed(blocks(2 * MIB))
    go.do("ping")
    engine.settle()
    assert probe.sent_bytes == 256 * KIB
    assert probe.channel.room() == 0
    assert go.do(f"recv a {2 * MIB}") == f"{2 * MIB} {stream_hash(2 * MIB)}"
    assert probe.idle


def test_a_window_of_six_mebibytes_is_used_and_its_frames_are_taken(engine: EngineLoop, make_peer: MakePeer) -> None:
    go = make_peer(flags=f"-window {6 * MIB}")
    probe = Probe(opened_here(engine, go))
    probe.feed(blocks(7 * MIB))
    go.do("ping")
    engine.settle()
    assert probe.sent_bytes == 6 * MIB
    assert go.do(f"recv a {7 * MIB}") == f"{7 * MIB} {stream_hash(7 * MIB)}"
    probe.read()
    digest = go.do(f"pour a {7 * MIB}")
    engine.run_until(lambda: probe.received_bytes == 7 * MIB)
    assert hashlib.sha256(probe.received).hexdigest() == digest


def test_the_257th_open_beyond_their_backlog_is_refused_and_the_others_live(engine: EngineLoop, go: GoPeer) -> None:
    streams = [Probe(go.mux.open()).read() for _ in range(257)]
    engine.run_until(lambda: streams[-1].broken is not None)
    assert [number for number, stream in enumerate(streams) if stream.broken] == [256]
    for number in (0, 255):
        streams[number].feed(b"%03d" % number, end=True)
    for number in range(256):
        go.do(f"accept s{number}")
    assert go.do("drain s0") == hash_of(b"000")
    assert go.do("drain s255") == hash_of(b"255")
    assert go.mux.open().stream_id


def test_an_opener_that_counts_waits_for_answers_instead(engine: EngineLoop, make_peer: MakePeer) -> None:
    go = make_peer(settings=MuxSettings(limits=YamuxLimits(unacknowledged_max=256)))
    for _ in range(256):
        go.mux.open()
    with pytest.raises(UnavailableError, match="not acknowledged"):
        go.mux.open()
    go.do("accept a")
    engine.run_until(lambda: len(go.mux.yamux._unacknowledged) == 255)
    assert go.mux.open().stream_id


def test_three_hundred_opens_of_theirs_are_all_answered(engine: EngineLoop, go: GoPeer) -> None:
    orders = [go.start(f"open s{number}") for number in range(300)]
    for order in orders:
        go.finish(order)
    engine.run_until(lambda: len(go.accepted) == 300)
    for stream in go.accepted:
        Probe(stream).read().feed(b"x", end=True)
    assert go.do("drain s299") == hash_of(b"x")


def test_five_hundred_short_streams_leave_nothing_on_either_side(engine: EngineLoop, go: GoPeer) -> None:
    for number in range(500):
        here = Probe(go.mux.open()).read().feed(b"question", end=True)
        accepted = go.start(f"accept s{number}")
        go.finish(accepted)
        answered = go.start(f"send s{number} {b'answer'.hex()}")
        go.finish(answered)
        go.do(f"close s{number}")
        go.do(f"drain s{number}")
        engine.settle()
        assert here.ended
        assert here.received == b"answer"
        here.close()
    assert go.mux.streams_open == 0
    assert go.do("streams") == "0"


@pytest.mark.timeout(300)
def test_a_gibibyte_in_each_direction_at_once_arrives_unchanged(engine: EngineLoop, go: GoPeer) -> None:
    probe = Probe(opened_here(engine, go))
    digest = hashlib.sha256()
    probe.keep_received = False
    probe.sink = digest.update
    probe.read_bytes = probe.piece_bytes = MIB
    probe.read()
    draining, pouring = go.start("drain a"), go.start(f"pour a {BULK_BYTES}")
    probe.feed(blocks(BULK_BYTES), end=True)
    assert go.finish(draining, 240) == f"{BULK_BYTES} {stream_hash(BULK_BYTES)}"
    poured = go.finish(pouring, 240)
    go.do("close a")
    engine.run_until(lambda: probe.ended)
    assert probe.received_bytes == BULK_BYTES
    assert digest.hexdigest() == poured
    assert go.mux.rtt_s is not None
