"""Window arithmetic: never more in flight than granted, never a byte of credit lost, growth within the budget."""

import heapq
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portway.errors import PeerError
from portway.protocol.yamux.window import PROVEN_BYTES, WINDOW_BYTES_MAX, GrowthBudget, ReceiveWindow

KIB = 1024
INITIAL = 256 * KIB


def test_a_peer_may_fill_the_window_and_not_one_byte_more() -> None:
    window = ReceiveWindow(GrowthBudget(0))
    window.arrived(INITIAL)
    with pytest.raises(PeerError, match="1 bytes sent into a window of 0"):
        window.arrived(1)


@pytest.mark.parametrize("count", [INITIAL + 1, 2**31 - 1, 2**31, 2**32 - 1])
def test_a_huge_frame_is_refused_before_anything_is_counted(count: int) -> None:
    window = ReceiveWindow(GrowthBudget(0))
    with pytest.raises(PeerError):
        window.arrived(count)
    assert window.left == INITIAL


def test_credit_is_due_at_a_quarter_of_the_window() -> None:
    window = ReceiveWindow(GrowthBudget(0))
    window.arrived(INITIAL)
    assert not window.consumed(INITIAL // 4 - 1)
    assert window.consumed(1)
    assert window.grant(0.0, None) == INITIAL // 4
    assert window.left == INITIAL // 4


def test_a_stream_that_moved_a_mebibyte_gets_a_window_of_one() -> None:
    window = ReceiveWindow(GrowthBudget(64 * KIB * KIB))
    for _ in range(8):
        window.arrived(INITIAL // 2)
        assert window.consumed(INITIAL // 2)
        window.grant(0.0, None)
    assert window.size == PROVEN_BYTES
    assert window.left == PROVEN_BYTES


def test_the_window_of_a_long_path_is_two_round_trips_of_its_reader() -> None:
    window = ReceiveWindow(GrowthBudget(64 * KIB * KIB))
    now, rtt_s = 0.0, 0.1
    for _ in range(200):  # the sender keeps the window full: one window per round trip
        now += rtt_s
        count = window.left
        window.arrived(count)
        if window.consumed(count):
            window.grant(now, rtt_s)
    assert window.size == WINDOW_BYTES_MAX


def test_a_slow_reader_on_a_long_path_gets_no_growth_beyond_the_proven() -> None:
    window = ReceiveWindow(GrowthBudget(64 * KIB * KIB))
    now = 0.0
    for _ in range(400):  # 1.28 MB/s over 100 ms: two round trips are 256 kB
        now += 0.1
        window.arrived(128 * KIB)
        if window.consumed(128 * KIB):
            window.grant(now, 0.1)
    assert window.size == PROVEN_BYTES


def test_growth_stops_at_the_budget_and_returns_to_it() -> None:
    budget = GrowthBudget(100 * KIB)
    windows = [ReceiveWindow(budget) for _ in range(3)]
    for window in windows:
        for _ in range(20):
            window.arrived(INITIAL // 2)
            window.consumed(INITIAL // 2)
            window.grant(0.0, None)
    assert [window.size - INITIAL for window in windows] == [100 * KIB, 0, 0]
    assert budget.left_bytes == 0
    windows[0].release()
    assert budget.left_bytes == 100 * KIB
    windows[0].release()
    assert budget.left_bytes == 100 * KIB


@given(
    steps=st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1), st.floats(0.0001, 0.5), st.booleans()), max_size=200),
    budget_bytes=st.integers(0, 40 * KIB * KIB),
    rtt_s=st.none() | st.floats(0.0001, 0.5),
)
def test_nothing_is_lost_and_the_window_is_never_exceeded(
    steps: list[tuple[float, float, float, bool]], budget_bytes: int, rtt_s: float | None
) -> None:
    budget = GrowthBudget(budget_bytes)
    window = ReceiveWindow(budget)
    now, sent, granted, unread = 0.0, 0, INITIAL, 0
    for send_part, read_part, pause_s, lazy in steps:
        now += pause_s
        count = int(window.left * send_part)
        window.arrived(count)
        sent, unread = sent + count, unread + count
        taken = int(unread * read_part)
        unread -= taken
        if window.consumed(taken) and not lazy:
            granted += window.grant(now, rtt_s)
        assert window.left == granted - sent >= 0
        assert window.left + unread + window.ungranted == window.size
        assert INITIAL <= window.size <= max(WINDOW_BYTES_MAX, INITIAL)
        assert budget.left_bytes + window.size - INITIAL == budget_bytes


def carried_bytes(rtt_s: float, bytes_per_s: float, seconds: float) -> int:
    """Simulate a sender that always has data, and a reader that consumes everything at once, over a path; no clock, no I/O."""
    window = ReceiveWindow(GrowthBudget(1 << 30))
    events: list[tuple[float, int, str, int]] = []
    number = itertools.count()
    may_send, line_free_at, now, carried = INITIAL, 0.0, 0.0, 0
    heapq.heappush(events, (0.0, next(number), "credit", 0))
    while events and now < seconds:
        now, _, kind, count = heapq.heappop(events)
        if kind == "data":
            window.arrived(count)
            carried += count
            if window.consumed(count):
                heapq.heappush(events, (now + rtt_s / 2, next(number), "credit", window.grant(now, rtt_s)))
            continue
        may_send += count
        while may_send:
            frame = min(may_send, 64 * KIB)
            may_send -= frame
            line_free_at = max(line_free_at, now) + frame / bytes_per_s
            heapq.heappush(events, (line_free_at + rtt_s / 2, next(number), "data", frame))
    return carried


@pytest.mark.parametrize(
    ("rtt_s", "bytes_per_s", "share"),
    [(0.001, 125e6, 0.95), (0.02, 125e6, 0.9), (0.08, 12.5e6, 0.85), (0.08, 125e6, 0.7), (0.2, 12.5e6, 0.65), (0.2, 50e6, 0.5)],
)
def test_a_far_path_is_filled_within_seconds(rtt_s: float, bytes_per_s: float, share: float) -> None:
    assert carried_bytes(rtt_s, bytes_per_s, 5.0) >= share * 5.0 * bytes_per_s
