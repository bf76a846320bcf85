"""The pure session: what each frame does, what it refuses, and what it answers."""

import gc
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portway.errors import MisuseError, PeerError, UnavailableError
from portway.protocol.yamux import session as session_module
from portway.protocol.yamux.limits import YamuxLimits
from tests.kit.yamux_wire import (
    ACK,
    DATA,
    FIN,
    GO_AWAY,
    INITIAL_WINDOW,
    PING,
    RST,
    SWITCHED,
    SYN,
    UNTOUCHED,
    WINDOW_UPDATE,
    Frame,
    all_frames,
    data,
    go_away,
    ping,
    update,
)
from tests.protocol.yamux.harness import SessionHarness

EDGES = [0, 1, INITIAL_WINDOW - 1, INITIAL_WINDOW, INITIAL_WINDOW + 1, 2**31 - 1, 2**31, 2**31 + 1, 2**32 - 2, 2**32 - 1]

# Opening and accepting --------------------------------------------------------------------------------------------


def test_the_client_opens_odd_ids_and_the_server_even_ones() -> None:
    client, server = SessionHarness(client=True), SessionHarness(client=False)
    assert [client.open().stream_id for _ in range(3)] == [1, 3, 5]
    assert [server.open().stream_id for _ in range(3)] == [2, 4, 6]


def test_an_open_sends_syn_at_once_with_a_window_update() -> None:
    harness = SessionHarness()
    harness.open()
    assert harness.take_output() == [update(1, flags=SYN)]


def test_an_open_with_data_sends_syn_with_the_data_and_only_once() -> None:
    harness = SessionHarness()
    stream = harness.session.open()
    stream.write(b"hello")
    stream.announce(opened_here=True)
    stream.write(b"again")
    assert harness.take_output() == [data(1, b"hello", SYN), data(1, b"again")]


def test_an_open_that_ends_at_once_sends_syn_and_fin_together() -> None:
    harness = SessionHarness()
    harness.session.open().end()
    assert harness.take_output() == [data(1, b"", SYN | FIN)]


def test_an_accepted_stream_is_acknowledged_at_once() -> None:
    harness = SessionHarness()
    harness.receive(update(2, flags=SYN))
    assert [stream.stream_id for stream in harness.accepted] == [2]
    assert harness.take_output() == [update(2, flags=ACK)]


def test_a_syn_may_carry_data_up_to_the_first_window() -> None:
    harness = SessionHarness()
    harness.receive(data(2, bytes(INITIAL_WINDOW), SYN))
    assert len(harness.accepted[0].received) == INITIAL_WINDOW


def test_a_syn_with_one_byte_too_many_makes_no_stream() -> None:
    """CVE-2026-32314: the size is checked before there is a stream."""
    harness = SessionHarness()
    assert "262145 bytes" in str(harness.violation(data(2, bytes(INITIAL_WINDOW + 1), SYN)))
    assert not harness.accepted
    assert not harness.session.streams


def test_a_syn_may_carry_credit_and_too_much_of_it_is_refused() -> None:
    """CVE-2026-31814: SYN, then an update that overflows."""
    harness = SessionHarness()
    harness.receive(update(2, 1000, SYN))
    assert harness.accepted[0].send_window == INITIAL_WINDOW + 1000
    assert "2^32 - 1" in str(harness.violation(update(4, 0xFFFF0000, SYN), update(4, 0xFFFF0000)))


def test_a_syn_with_fin_is_a_stream_that_only_we_may_write() -> None:
    harness = SessionHarness()
    harness.receive(data(2, b"all", SYN | FIN))
    stream = harness.accepted[0]
    assert stream.received == b"all"
    assert stream.ended == 1
    stream.write(b"answer")
    stream.end()
    assert not harness.session.streams


def test_a_syn_with_rst_leaves_nothing() -> None:
    harness = SessionHarness()
    harness.receive(data(2, b"", SYN | RST))
    assert harness.accepted[0].resets == 1
    assert not harness.session.streams


@pytest.mark.parametrize(
    ("frames", "rule"),
    [
        ([update(2, flags=SYN), update(2, flags=SYN)], "open already"),
        ([update(3, flags=SYN)], "an id of this end"),
        ([data(1, b"x", SYN)], "an id of this end"),
        ([data(0, b"x")], "stream 0"),
        ([data(0, b"x", SYN)], "stream 0"),
        ([update(0, 1)], "stream 0"),
        ([Frame(DATA, 0, 2, version=1)], "version 1"),
        ([Frame(PING, SYN, 0, version=255)], "version 255"),
        ([Frame(4, 0, 0)], "unknown type 4"),
        ([Frame(255, 0xFFFF, 0)], "unknown type 255"),
        ([update(2, flags=SYN), data(2, b"", FIN), data(2, b"", FIN)], "ended twice"),
        ([update(2, flags=SYN), data(2, b"", FIN), data(2, b"x")], "after its end"),
        ([update(2, flags=SYN), data(2, b"", FIN), data(2, b"x", ACK)], "after its end"),
        ([go_away(1)], "protocol error"),
        ([go_away(2)], "internal error"),
        ([go_away(0xFFFFFFFF)], "internal error"),
    ],
)
def test_a_broken_rule_is_named(frames: list[Frame], rule: str) -> None:
    assert rule in str(SessionHarness(client=True).violation(*frames))


def test_the_other_roles_ids_are_refused_by_a_server_too() -> None:
    assert "an id of this end" in str(SessionHarness(client=False).violation(update(2, flags=SYN)))
    assert SessionHarness(client=False).violation(update(1, flags=SYN)) is None


def test_a_refused_stream_is_reset_and_its_data_is_skipped() -> None:
    harness = SessionHarness()
    harness.refuse = True
    harness.receive(data(2, b"hello", SYN), ping(7))
    assert harness.take_output() == [update(2, flags=ACK), data(2, b"", RST), ping(7, ACK)]
    assert not harness.session.streams


# Limits -----------------------------------------------------------------------------------------------------------


def test_more_streams_than_allowed_are_reset_and_their_data_is_skipped() -> None:
    harness = SessionHarness(limits=YamuxLimits(accepts_max=2))
    harness.receive(*(data(number, b"hello", SYN) for number in (2, 4, 6)), data(4, b" there"))
    assert harness.take_output() == [update(2, flags=ACK), update(4, flags=ACK), update(6, flags=RST)]
    assert harness.accepted[1].received == b"hello there"
    harness.accepted[0].reset()
    harness.take_output()
    harness.receive(update(8, flags=SYN))
    assert harness.take_output() == [update(8, flags=ACK)]


def test_opens_of_both_sides_share_the_limit() -> None:
    harness = SessionHarness(limits=YamuxLimits(streams_max=3))
    harness.open()
    harness.receive(update(2, flags=SYN), update(4, flags=SYN), update(6, flags=SYN))
    assert update(6, flags=RST) in harness.take_output()
    with pytest.raises(UnavailableError, match="3 streams"):
        harness.session.open()


def test_a_side_that_accepts_nothing_resets_everything() -> None:
    harness = SessionHarness(limits=YamuxLimits(accepts_max=0))
    harness.receive(update(2, flags=SYN), data(4, b"x", SYN))
    assert harness.take_output() == [update(2, flags=RST), update(4, flags=RST)]


def test_unacknowledged_opens_are_bounded() -> None:
    harness = SessionHarness(limits=YamuxLimits(unacknowledged_max=256))
    for _ in range(256):
        harness.open()
    with pytest.raises(UnavailableError, match="256 opened streams are not acknowledged yet"):
        harness.session.open()
    harness.receive(update(1, flags=ACK))
    harness.open()
    with pytest.raises(UnavailableError):
        harness.session.open()
    harness.receive(data(3, b"first frame", ACK))
    harness.open()
    harness.receive(update(5, flags=RST))
    harness.open()


def test_ids_are_not_used_again_when_they_run_out() -> None:
    harness = SessionHarness()
    harness.session._next_id = 2**32 - 3
    assert harness.open().stream_id == 2**32 - 3
    with pytest.raises(UnavailableError, match="no stream ids left"):
        harness.session.open()


@pytest.mark.parametrize(
    ("limits", "frame", "allowed"),
    [
        (YamuxLimits(pings_per_s_max=50), ping(1), 50),
        (YamuxLimits(pings_per_s_max=50), ping(1, ACK), 50),
        (YamuxLimits(empties_per_s_max=50), data(2), 50),
        (YamuxLimits(empties_per_s_max=50), update(2), 50),
    ],
)
def test_a_storm_of_frames_that_do_nothing_ends_the_session(limits: YamuxLimits, frame: Frame, allowed: int) -> None:
    harness = SessionHarness(limits=limits)
    harness.receive(update(2, flags=SYN))
    harness.receive(*[frame] * allowed)
    assert "per second" in str(harness.violation(frame))
    calm = SessionHarness(limits=limits)
    calm.receive(update(2, flags=SYN))
    for second in range(10):
        calm.now = float(second)
        calm.receive(*[frame] * allowed)


def test_a_storm_of_opens_ends_the_session() -> None:
    harness = SessionHarness(limits=YamuxLimits(opens_per_s_max=100, accepts_max=10))
    opens = [update(2 * number, flags=SYN) for number in range(1, 102)]
    harness.receive(*opens[:100])
    assert "streams opened" in str(harness.violation(opens[100]))
    assert len(harness.accepted) == 10


def test_a_storm_of_resets_ends_the_session() -> None:
    harness = SessionHarness(limits=YamuxLimits(resets_per_s_max=100))
    for number in range(1, 101):
        harness.receive(update(2 * number, flags=SYN), update(2 * number, flags=RST))
    assert "resets" in str(harness.violation(update(1000, flags=SYN), update(1000, flags=RST)))
    assert len(harness.session.streams) <= 1


def test_late_frames_of_a_stream_that_was_reset_here_are_no_attack() -> None:
    """A whole window of tiny frames may still arrive when a visitor breaks off; the link carries other streams, too."""
    harness = SessionHarness()
    harness.receive(update(2, flags=SYN))
    harness.accepted[0].reset()
    late = data(2, b"x" * 20).wire * (INITIAL_WINDOW // 20)
    for _ in range(4):
        harness.receive_bytes(late)
    harness.receive(ping(5))
    assert harness.take_output()[-1] == ping(5, ACK)


def test_a_flood_for_streams_that_never_were_ends_the_session() -> None:
    harness = SessionHarness()
    flood = data(2, b"").wire * 10_000
    with pytest.raises(PeerError, match="per second"):
        for _ in range(100):
            harness.receive_bytes(flood)


# Portway's own flags --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", [FIN, RST])
def test_an_end_may_carry_untouched(how: int) -> None:
    harness = SessionHarness()
    harness.receive(update(2, flags=SYN), update(4, flags=SYN), data(2, b"", how | UNTOUCHED), data(4, b"", how))
    assert [stream.untouched for stream in harness.accepted] == [True, False]
    assert [(stream.ended, stream.resets) for stream in harness.accepted] == [(how == FIN, how == RST)] * 2


def test_untouched_is_sent_with_the_frame_that_ends_the_stream() -> None:
    harness = SessionHarness()
    one, other = harness.open(), harness.open()
    harness.take_output()
    for stream in (one, other):
        stream.mark_untouched()
        stream.write(b"x")
    one.end()
    other.reset()
    assert harness.take_output()[2:] == [data(1, b"", FIN | UNTOUCHED), data(3, b"", RST | UNTOUCHED)]


def test_a_server_signals_that_a_stream_no_longer_carries_http() -> None:
    harness = SessionHarness()
    stream = harness.open()
    harness.take_output()
    stream.send_switched()
    assert harness.take_output() == [update(1, 0, SWITCHED)]
    stream.reset()
    stream.send_switched()
    assert harness.take_output() == [data(1, b"", RST)]
    harness.receive(update(2, flags=SYN), update(2, 5, SWITCHED))
    assert harness.accepted[0].switched
    assert harness.accepted[0].send_window == INITIAL_WINDOW + 5


def test_frames_with_nothing_but_unknown_flags_are_counted_as_empty() -> None:
    harness = SessionHarness(limits=YamuxLimits(empties_per_s_max=10))
    harness.receive(update(2, flags=SYN))
    assert "nothing" in str(harness.violation(*[update(2, 0, SWITCHED)] * 11))


# Data and windows -------------------------------------------------------------------------------------------------


def test_a_whole_window_in_one_frame_is_accepted_and_one_byte_more_is_fatal() -> None:
    harness = SessionHarness()
    harness.receive(update(2, flags=SYN), data(2, bytes(INITIAL_WINDOW)))
    assert harness.accepted[0].unread == INITIAL_WINDOW
    assert "into a window of 0" in str(harness.violation(data(2, b"x")))


@pytest.mark.parametrize("length", EDGES)
@pytest.mark.parametrize("flags", [0, SYN, ACK, FIN, RST, SYN | FIN])
@pytest.mark.parametrize("known", [False, True])
def test_no_data_length_causes_errors_before_its_body_arrives(length: int, flags: int, known: bool) -> None:
    harness = SessionHarness()
    if known:
        harness.receive(update(2, flags=SYN))
    before = len(harness.session.streams)
    rule = harness.violation(Frame(DATA, flags, 2, length))
    if length > INITIAL_WINDOW and (known or flags & SYN):
        assert rule is not None
        assert len(harness.session.streams) == before
    elif known and flags & SYN:
        assert "open already" in str(rule)
    elif length > 16 * 1024 * 1024:
        assert "unknown stream" in str(rule)
    else:
        assert rule is None


@pytest.mark.parametrize("delta", EDGES)
@pytest.mark.parametrize("flags", [0, SYN, ACK, FIN])
def test_credit_adds_up_to_two_to_the_32_and_not_beyond(delta: int, flags: int) -> None:
    harness = SessionHarness()
    if not flags & SYN:
        harness.receive(update(2, flags=SYN))
    rule = harness.violation(update(2, delta, flags))
    if INITIAL_WINDOW + delta > 2**32 - 1:
        assert "2^32 - 1" in str(rule)
    else:
        assert rule is None
        assert harness.stream(2).send_window == INITIAL_WINDOW + delta


def test_many_small_credits_cannot_pass_the_limit_either() -> None:
    harness = SessionHarness()
    harness.receive(update(2, flags=SYN), update(2, 2**32 - 1 - INITIAL_WINDOW))
    assert harness.accepted[0].send_window == 2**32 - 1
    assert "2^32 - 1" in str(harness.violation(update(2, 1)))


def test_a_writer_cannot_send_more_than_its_window() -> None:
    harness = SessionHarness()
    stream = harness.open()
    stream.write(bytes(INITIAL_WINDOW))
    with pytest.raises(MisuseError):
        stream.write(b"x")
    assert stream.credits == 0
    harness.receive(update(1, 5))
    assert stream.credits == 1
    stream.write(b"12345")
    assert stream.send_window == 0


def test_a_writer_is_called_only_when_its_window_was_empty() -> None:
    harness = SessionHarness()
    stream = harness.open()
    harness.receive(update(1, 5))
    assert stream.credits == 0


def test_credit_is_sent_when_a_quarter_of_the_window_was_read() -> None:
    harness = SessionHarness()
    harness.receive(data(2, bytes(INITIAL_WINDOW), SYN))
    harness.take_output()
    stream = harness.accepted[0]
    stream.consume(INITIAL_WINDOW // 4 - 1, 0.0)
    assert harness.take_output() == []
    stream.consume(1, 0.0)
    assert harness.take_output() == [update(2, INITIAL_WINDOW // 4)]
    harness.receive(data(2, bytes(INITIAL_WINDOW // 4)))


def test_a_stream_that_is_over_grants_nothing() -> None:
    harness = SessionHarness()
    harness.receive(data(2, bytes(INITIAL_WINDOW), SYN | FIN))
    harness.take_output()
    harness.accepted[0].consume(INITIAL_WINDOW, 0.0)
    assert harness.take_output() == []


# Ends and resets --------------------------------------------------------------------------------------------------


def test_a_stream_that_is_over_is_held_by_nothing_of_its_session() -> None:
    harness = SessionHarness()
    first, second = harness.open(), harness.open()
    harness.receive(data(first.stream_id, b"last words", ACK))
    first.end()
    for stream, last in ((first, data(first.stream_id, b"", FIN)), (second, data(second.stream_id, b"", RST))):
        harness.receive(last)
        assert stream.gone
        assert all(stream not in gc.get_referents(held) for held in gc.get_referents(harness.session) if isinstance(held, dict))
        assert stream not in gc.get_referents(harness.session)


def test_each_direction_ends_separately_and_the_stream_is_removed_with_the_second() -> None:
    harness = SessionHarness()
    stream = harness.open()
    stream.end()
    harness.receive(data(1, b"still here"))
    assert stream.received == b"still here"
    harness.receive(data(1, b"", FIN))
    assert not harness.session.streams
    other = harness.open()
    harness.receive(data(3, b"", FIN))
    other.write(b"still here too")
    other.end()
    assert not harness.session.streams


def test_fin_is_sent_once() -> None:
    harness = SessionHarness()
    stream = harness.open()
    harness.take_output()
    stream.end()
    stream.end()
    assert harness.take_output() == [data(1, b"", FIN)]
    with pytest.raises(MisuseError):
        stream.write(b"x")


def test_fin_may_ride_on_data_and_on_an_update() -> None:
    harness = SessionHarness()
    harness.receive(update(2, flags=SYN), data(2, b"last words", FIN))
    assert harness.accepted[0].received == b"last words"
    assert harness.accepted[0].ended == 1
    harness.receive(update(4, flags=SYN), update(4, 10, FIN))
    assert harness.accepted[1].ended == 1
    assert harness.accepted[1].send_window == INITIAL_WINDOW + 10


def test_a_reset_ends_both_directions_and_is_sent_once() -> None:
    harness = SessionHarness()
    stream = harness.open()
    harness.take_output()
    stream.reset()
    stream.reset()
    stream.end()
    assert harness.take_output() == [data(1, b"", RST)]
    assert stream.resets == 0
    harness.receive(data(1, b"late"), data(1, b"", FIN), data(1, b"", FIN), update(1, 5), update(1, 0, RST))
    assert stream.received == b""


def test_a_reset_by_the_peer_is_reported_once_and_not_answered() -> None:
    harness = SessionHarness()
    stream = harness.open()
    harness.take_output()
    harness.receive(data(1, b"some", RST), data(1, b"", RST))
    assert stream.received == b"some"
    assert (stream.resets, stream.ended) == (1, 0)
    assert harness.take_output() == []


def test_frames_of_unknown_streams_are_skipped_with_their_bodies() -> None:
    harness = SessionHarness()
    harness.receive(data(77, b"who?"), data(78, b"and who?", FIN | ACK), update(80, 5), data(82, b"", RST), ping(3))
    assert harness.take_output() == [ping(3, ACK)]


def test_a_stream_reset_while_its_frame_arrives_swallows_the_rest() -> None:
    harness = SessionHarness()
    harness.receive(update(2, flags=SYN))
    wire = data(2, b"0123456789", FIN).wire
    harness.receive_bytes(wire[:15])
    harness.accepted[0].reset()
    harness.receive_bytes(wire[15:])
    harness.receive(ping(9))
    assert harness.accepted[0].received == b"012"
    assert harness.accepted[0].ended == 0
    assert harness.take_output()[-1] == ping(9, ACK)


# The session itself -----------------------------------------------------------------------------------------------


def test_a_ping_is_echoed_and_a_pong_is_reported() -> None:
    harness = SessionHarness()
    harness.receive(ping(0xDEADBEEF), ping(7, ACK))
    assert harness.take_output() == [ping(0xDEADBEEF, ACK)]
    assert harness.pongs == [7]
    harness.session.ping(5)
    assert harness.take_output() == [ping(5, SYN)]


def test_a_go_away_stops_our_opens_and_nothing_else() -> None:
    harness = SessionHarness()
    stream = harness.open()
    harness.receive(go_away(0), data(1, b"still here"), update(2, flags=SYN))
    assert stream.received == b"still here"
    assert len(harness.accepted) == 1
    with pytest.raises(UnavailableError, match="going away"):
        harness.session.open()


def test_after_our_go_away_their_opens_are_reset_and_old_streams_live() -> None:
    harness = SessionHarness()
    harness.receive(update(2, flags=SYN))
    harness.take_output()
    harness.session.go_away()
    harness.session.go_away()
    harness.receive(data(4, b"x", SYN), data(2, b"old"))
    assert harness.take_output() == [go_away(0), update(4, flags=RST)]
    assert harness.accepted[0].received == b"old"
    with pytest.raises(UnavailableError):
        harness.session.open()


def test_ids_that_run_out_are_announced_before_and_streams_that_run_live_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_module, "STREAM_ID_LAST", 9)
    monkeypatch.setattr(session_module, "SPARE_IDS", 4)
    client, server = SessionHarness(client=True), SessionHarness(client=False)
    for _ in range(2):
        client.open()
    before = client.session.expiring, server.session.expiring
    client.open()
    server.receive(*client.take_output())
    assert (*before, server.session.expiring) == (False, False, False), "two ids are left, as many as are spare"

    client.open()
    take_output = client.take_output()
    assert take_output[0] == go_away(0), "whoever opens streams tells that few ids are left"
    assert client.session.expiring
    server.receive(*take_output[1:])
    assert server.session.expiring, "whoever accepts them sees it by itself"
    client.open()
    assert client.session.ids_exhausted
    assert not client.session.can_open
    with pytest.raises(UnavailableError, match="no stream ids left"):
        client.session.open()
    server.receive(*client.take_output())
    assert len(server.session.streams) == 5


def test_a_session_must_be_replaced_after_a_go_away_of_the_peer() -> None:
    harness = SessionHarness()
    before = harness.session.expiring
    harness.receive(go_away(0))
    assert (before, harness.session.expiring) == (False, True)


def test_a_draining_end_accepts_streams_opened_before_its_go_away_arrived() -> None:
    harness = SessionHarness()
    harness.session.drain()
    assert harness.take_output() == [go_away(0)]
    harness.receive(data(2, b"on its way", SYN))
    assert harness.accepted[0].received == b"on its way"
    assert harness.session.can_open, "only the peer was asked to stop"
    harness.session.go_away()
    harness.session.drain()
    assert harness.take_output()[-1] == go_away(0)
    assert not harness.session.can_open


def test_can_open_is_true_exactly_when_a_stream_can_be_opened() -> None:
    full, unanswered, told = (
        SessionHarness(limits=YamuxLimits(streams_max=1)),
        SessionHarness(limits=YamuxLimits(unacknowledged_max=1)),
        SessionHarness(),
    )
    assert full.session.can_open
    assert unanswered.session.can_open
    full.open()
    unanswered.open()
    told.receive(go_away(0))
    for harness in (full, unanswered, told):
        assert not harness.session.can_open
        with pytest.raises(UnavailableError):
            harness.session.open()


def test_a_protocol_error_is_sent_even_after_a_go_away() -> None:
    harness = SessionHarness()
    harness.session.go_away()
    harness.session.protocol_error()
    assert harness.take_output() == [go_away(0), go_away(1)]


def test_a_lost_session_breaks_every_stream_once() -> None:
    harness = SessionHarness()
    parity = harness.open()
    harness.receive(update(2, flags=SYN))
    harness.session.lose()
    harness.session.lose()
    assert [parity.resets, harness.accepted[0].resets] == [1, 1]
    assert not harness.session.streams
    parity.end()
    parity.reset()
    with pytest.raises(UnavailableError):
        harness.session.open()


def test_the_shell_is_asked_to_send_once_per_filling() -> None:
    harness = SessionHarness()
    harness.receive(*[ping(number) for number in range(20)], update(2, flags=SYN))
    assert harness.output_calls == 1
    harness.take_output()
    harness.accepted[0].write(b"x")
    assert harness.output_calls == 2


def test_growth_of_an_ended_stream_returns_to_the_budget() -> None:
    harness = SessionHarness(limits=YamuxLimits(growth_bytes_max=1024 * 1024))
    harness.receive(update(2, flags=SYN))
    stream = harness.accepted[0]
    for _ in range(40):
        count = min(stream.receive_window.left, 128 * 1024)
        harness.receive(data(2, bytes(count)))
        stream.consume(count, 0.0)
    assert harness.session.growth.left_bytes == 1024 * 1024 - 768 * 1024
    harness.receive(data(2, b"", RST))
    assert harness.session.growth.left_bytes == 1024 * 1024


# Cuts and noise ---------------------------------------------------------------------------------------------------


def conversation() -> list[Frame]:
    dice = random.Random(4)
    frames = [update(2, 100, SYN), data(4, b"early", SYN)]
    for _ in range(30):
        frames.append(data(dice.choice([2, 4]), dice.randbytes(dice.choice([0, 1, 100, 5000]))))
        frames.append(dice.choice([ping(dice.getrandbits(32)), update(2, 9), data(99, b"unknown"), update(4, 0, ACK)]))
    return [*frames, data(2, b"end", FIN), data(4, b"", RST), ping(1)]


@given(cuts=st.lists(st.integers(1, 4000), max_size=80), last=st.integers(1, 200))
def test_any_cut_leads_to_the_same_result(cuts: list[int], last: int) -> None:
    wire = b"".join(frame.wire for frame in conversation())
    whole, cut = SessionHarness(), SessionHarness()
    whole.receive_bytes(wire)
    at = 0
    for size in [*cuts, *[last] * (len(wire) // last + 1)]:
        cut.receive_bytes(wire[at : at + size])
        at += size
    assert cut.take_output() == whole.take_output()
    assert [(s.received, s.ended, s.resets, s.send_window) for s in cut.accepted] == [
        (s.received, s.ended, s.resets, s.send_window) for s in whole.accepted
    ]


def test_one_byte_at_a_time_is_a_cut_too() -> None:
    wire = b"".join(frame.wire for frame in conversation())
    whole, cut = SessionHarness(), SessionHarness()
    whole.receive_bytes(wire)
    for at in range(len(wire)):
        cut.receive_bytes(wire[at : at + 1])
    assert cut.take_output() == whole.take_output()
    assert [s.received for s in cut.accepted] == [s.received for s in whole.accepted]


@given(noise=st.binary(max_size=300), start=st.sampled_from([b"", update(2, 0, SYN).wire, data(2, b"", SYN).wire]))
def test_noise_ends_in_a_peer_error_or_in_nothing(noise: bytes, start: bytes) -> None:
    harness = SessionHarness()
    rule = "yamux: none was broken"
    try:
        harness.receive_bytes(start + noise)
    except PeerError as error:
        rule = str(error)
    assert rule.startswith("yamux: ")
    all_frames(harness.session.out)
    assert len(harness.session.streams) <= len(noise) // 12 + 1


@given(
    frames=st.lists(
        st.builds(
            Frame,
            type=st.integers(0, 4),
            flags=st.integers(0, 15) | st.integers(0, 0xFFFF),
            stream_id=st.integers(0, 6) | st.sampled_from([2**31, 2**32 - 1]),
            length=st.integers(0, 20) | st.sampled_from(EDGES),
            body=st.binary(max_size=20),
            version=st.sampled_from([0] * 20 + [1]),
        ),
        max_size=40,
    )
)
def test_frames_that_lie_end_in_a_peer_error_or_in_nothing(frames: list[Frame]) -> None:
    harness = SessionHarness(client=False)
    harness.open()
    harness.violation(*frames)
    all_frames(harness.session.out)


@pytest.mark.parametrize("kind", [DATA, WINDOW_UPDATE, PING, GO_AWAY, 4, 255])
@pytest.mark.parametrize("stream_id", [0, 1, 2, 3, 4, 2**31, 2**32 - 2, 2**32 - 1])
def test_all_flags_of_all_types_are_survived(kind: int, stream_id: int) -> None:
    for flags in [*range(64), *(1 << bit for bit in range(6, 16)), 0xFFFF]:
        for length in (0, 1, INITIAL_WINDOW + 1, 2**32 - 1):
            harness = SessionHarness()
            harness.open()
            harness.receive(update(2, flags=SYN))
            harness.violation(Frame(kind, flags, stream_id, length))
            assert len(harness.session.streams) <= 3
            assert len(harness.session.out) < 100
