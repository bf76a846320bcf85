"""The timer wheel, without a clock: never early, at most two ticks late, cancelled is forgotten."""

import gc
from weakref import ref

from hypothesis import given
from hypothesis import strategies as st

from portway.engine.timers import TICK_S, Timer, TimerWheel


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


def test_a_cancelled_timer_is_not_due_and_wakes_nobody() -> None:
    wheel = TimerWheel()
    timer = wheel.set(100.0, 1.0, nothing)
    timer.cancel()
    timer.cancel()
    assert wheel.next_deadline() is None
    assert wheel.due(1e9) == []


def test_a_cancelled_timer_holds_nobody() -> None:
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


def test_a_delay_below_zero_is_due_at_once() -> None:
    wheel = TimerWheel()
    timer = wheel.set(100.0, -5.0, nothing)
    assert wheel.due(100.0 + 2 * TICK_S) == [timer]


@given(
    delays=st.lists(st.floats(0, 30), max_size=60),
    cancelled=st.sets(st.integers(0, 59)),
    steps=st.lists(st.floats(0.001, 5), min_size=1, max_size=60),
)
def test_every_timer_fires_in_its_time_or_was_cancelled(delays: list[float], cancelled: set[int], steps: list[float]) -> None:
    wheel = TimerWheel()
    start = now = 1000.0
    timers = [wheel.set(start, delay, nothing) for delay in delays]
    for number in cancelled & set(range(len(timers))):
        timers[number].cancel()
    waiting: dict[Timer, float] = {timer: start + delays[number] for number, timer in enumerate(timers) if number not in cancelled}
    for step in steps:
        now += step
        deadline = wheel.next_deadline()
        for timer in wheel.due(now):
            assert waiting.pop(timer) <= now
            assert deadline is not None
            assert deadline <= now
        assert all(due > now - 2 * TICK_S for due in waiting.values())
        deadline = wheel.next_deadline()
        assert (deadline is None) == (not waiting)
        if deadline is not None:
            assert now < deadline <= min(waiting.values()) + 2 * TICK_S
