"""The timer wheel, without a clock: never early, at most two ticks late, and cancelled timers are released."""

import gc
import itertools
import tracemalloc
from weakref import ref

from hypothesis import given
from hypothesis import strategies as st

from portway.engine.timers import NEAR_S, TICK_S, Timer, TimerWheel

DAY_S = 86400.0
LONGEST_S = 1e9
"""Upper bound of a limit (protocol/control/messages.py)."""


def nothing() -> None:
    pass


def test_an_empty_wheel_has_no_deadline() -> None:
    assert TimerWheel().next_deadline() is None
    assert TimerWheel().due(1e9) == []


def test_a_timer_is_due_after_its_delay_and_once() -> None:
    wheel = TimerWheel()
    timer = wheel.set(100.0, 1.0, nothing)
    assert wheel.due(101.0 - 0.001) == []
    assert wheel.due(101.0 + 2 * TICK_S) == [timer]
    assert wheel.due(1e9) == []
    assert wheel.next_deadline() is None


def test_a_cancelled_timer_is_not_due_and_causes_no_wake_up() -> None:
    wheel = TimerWheel()
    timer = wheel.set(100.0, 1.0, nothing)
    timer.cancel()
    timer.cancel()
    assert wheel.next_deadline() is None
    assert wheel.due(1e9) == []


def test_a_cancelled_timer_keeps_no_reference() -> None:
    class Waiter:
        def __init__(self) -> None:
            self.timer = wheel.set(100.0, 1.0, self.time_out)

        def time_out(self) -> None:
            raise AssertionError

    wheel = TimerWheel()
    waiter = Waiter()
    alive = ref(waiter)
    gc.disable()
    try:
        waiter.timer.cancel()
        del waiter
        assert alive() is None, "only the cycle collector would free it"
    finally:
        gc.enable()


def test_a_timer_cancelled_by_an_earlier_one_of_the_same_tick_does_not_fire() -> None:
    wheel = TimerWheel()
    fired: list[str] = []

    def cancel_the_other() -> None:
        fired.append("first")
        second.cancel()

    wheel.set(100.0, 1.0, cancel_the_other)
    second = wheel.set(100.0, 1.0, lambda: fired.append("second"))
    for timer in wheel.due(102.0):
        timer.fire()
    assert fired == ["first"]


def test_a_fired_timer_keeps_no_reference() -> None:
    class Waiter:
        def __init__(self) -> None:
            self.timer = wheel.set(100.0, 1.0, self.time_out)

        def time_out(self) -> None:
            self.timer.cancel()

    wheel = TimerWheel()
    waiter = Waiter()
    alive = ref(waiter)
    gc.disable()
    try:
        for timer in wheel.due(102.0):
            timer.fire()
        del timer, waiter
        assert alive() is None, "only the cycle collector would free it"
    finally:
        gc.enable()


def test_far_timers_that_were_cancelled_leave_nothing_behind() -> None:
    wheel = TimerWheel()

    def a_day_of_requests(begins_at: float) -> None:
        for number in range(8_000):
            now = begins_at + number * DAY_S / 8_000
            wheel.due(now)
            for limit_s in (0.3, 10.0, 3600.0, 30 * DAY_S, LONGEST_S - number):
                wheel.set(now, limit_s, nothing).cancel()
            wheel.next_deadline()

    a_day_of_requests(0.0)  # fills what is there once
    tracemalloc.start()
    try:
        a_day_of_requests(DAY_S)
        left_bytes, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert left_bytes < 40_000, "5 bytes for each request"
    assert wheel.buckets < 2_700


def test_a_bucket_that_was_full_once_is_small_again_when_it_is_empty() -> None:
    wheel = TimerWheel()
    tracemalloc.start()
    try:
        for timer in [wheel.set(100.0, 30 * DAY_S, nothing) for _ in range(20_000)]:
            timer.cancel()
        del timer
        left_bytes, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert left_bytes < 10_000


def test_a_distant_timer_is_moved_only_a_few_times() -> None:
    wheel = TimerWheel()
    timer = wheel.set(100.0, LONGEST_S, nothing)
    checks = 0
    ripe: list[Timer] = []
    while (deadline := wheel.next_deadline()) is not None:
        checks += 1
        ripe = wheel.due(deadline)
    assert ripe == [timer]
    assert checks <= 6


def test_a_delay_below_zero_is_due_at_once() -> None:
    wheel = TimerWheel()
    timer = wheel.set(100.0, -5.0, nothing)
    assert wheel.due(100.0 + 2 * TICK_S) == [timer]


delays_s = st.one_of(
    st.floats(0, 30), st.floats(0, 2 * NEAR_S), st.floats(0, 40 * DAY_S), st.floats(0, LONGEST_S), st.sampled_from([NEAR_S, LONGEST_S])
)
steps_s = st.one_of(st.floats(0.001, 5), st.floats(1, 100), st.floats(1, DAY_S), st.floats(1, LONGEST_S))


@given(
    start=st.floats(0, 1e7),
    turns=st.lists(st.tuples(st.lists(delays_s, max_size=8), st.sets(st.integers(0, 30)), steps_s), min_size=1, max_size=40),
)
def test_every_timer_fires_in_its_time_or_was_cancelled(start: float, turns: list[tuple[list[float], set[int], float]]) -> None:
    wheel = TimerWheel()
    now = start
    waiting: dict[Timer, float] = {}
    fired: list[float] = []
    for delays, cancelled, step in turns:
        for delay in delays:
            waiting[wheel.set(now, delay, nothing)] = now + delay
        for number, timer in enumerate(list(waiting)):
            if number in cancelled:
                timer.cancel()
                del waiting[timer]
        deadline = wheel.next_deadline()
        assert (deadline is None) == (not waiting)
        if deadline is not None:
            assert now < deadline <= min(waiting.values()) + 2 * TICK_S
        now += step
        fired.clear()
        for timer in wheel.due(now):
            fired.append(waiting.pop(timer))
            assert fired[-1] <= now
            assert deadline is not None
            assert deadline <= now
        assert all(later >= earlier - 2 * TICK_S for earlier, later in itertools.pairwise(fired)), "earliest first"
        assert all(due > now - 2 * TICK_S for due in waiting.values())
