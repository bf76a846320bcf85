"""When to ping, how far the peer is, and when it is gone: pure, with the clock set by the test."""

from hypothesis import given
from hypothesis import strategies as st

from portway.mux.heartbeat import RTT_WINDOW_S, Heartbeat, HeartbeatSettings

SETTINGS = HeartbeatSettings(silence_s_max=12.0, ping_every_s=4.0)


def test_the_first_ping_is_sent_at_once_and_then_every_four_seconds() -> None:
    beat = Heartbeat(SETTINGS, 100.0)
    asked = [now for now in range(100, 120) if beat.next_ping(float(now)) is not None]
    assert asked == [100, 104, 108, 112, 116]


def test_a_peer_is_lost_after_twelve_silent_seconds_and_not_before() -> None:
    beat = Heartbeat(SETTINGS, 100.0)
    assert not beat.is_lost(111.9)
    assert beat.is_lost(112.0)
    beat.received_at = 111.0
    assert not beat.is_lost(122.9)
    assert beat.silent_for_s(115.0) == 4.0


def test_both_ends_detect_a_loss_within_fifteen_seconds() -> None:
    for phase in range(10):
        start = 100.0 + phase / 10
        beat = Heartbeat(SETTINGS, start)
        noticed = next(now for now in range(100, 200) if beat.is_lost(float(now)))
        assert noticed - start <= 15


def test_the_round_trip_is_the_lowest_of_the_last_thirty_seconds() -> None:
    beat = Heartbeat(SETTINGS, 0.0)
    assert beat.rtt_s(0.0) is None
    for now, trip in ((0.0, 0.5), (4.0, 0.1), (8.0, 0.3)):
        assert beat.on_pong(beat.ping(now), now + trip) is not None
    assert abs((beat.rtt_s(9.0) or 0) - 0.1) < 1e-9
    assert abs((beat.rtt_s(4.1 + RTT_WINDOW_S + 0.1) or 0) - 0.3) < 1e-9


def test_the_last_known_round_trip_never_expires() -> None:
    beat = Heartbeat(SETTINGS, 0.0)
    beat.on_pong(beat.ping(0.0), 0.2)
    assert beat.rtt_s(10_000.0) == 0.2


def test_an_answer_to_no_question_is_no_sample() -> None:
    beat = Heartbeat(SETTINGS, 0.0)
    value = beat.ping(0.0)
    assert beat.on_pong(value + 1, 0.1) is None
    assert beat.on_pong(value, 0.1) == 0.1
    assert beat.on_pong(value, 0.2) is None


def test_own_suspension_is_excluded_and_ordinary_delay_is_not() -> None:
    beat = Heartbeat(SETTINGS, 100.0)
    beat.exclude_pause(60.0)
    assert not beat.is_lost(160.0 + 11.9)
    assert beat.is_lost(160.0 + 12.0)
    beat.exclude_pause(0.9)
    beat.exclude_pause(-5.0)
    assert beat.received_at == 160.0


@given(st.lists(st.floats(0.01, 5), max_size=300))
def test_questions_without_answers_do_not_pile_up(pauses: list[float]) -> None:
    beat, now = Heartbeat(SETTINGS, 0.0), 0.0
    for pause in pauses:
        now += pause
        beat.next_ping(now)
        assert len(beat._sent_at) <= 4 + 1
