"""The schedule with a clock and chance of the test's own."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from portway.certificates.acme.failures import OrderFailed, Scope
from portway.certificates.acme.schedule import (
    CA_RETRY_S,
    CA_RETRY_S_MAX,
    CHECK_S,
    CHECK_S_MAX,
    IN_FLIGHT_MAX,
    LIMIT_PAUSE_S_MAX,
    NAME_RETRY_S,
    RETRY_AFTER_S_MAX,
    Schedule,
    Validity,
)

DAY = 86400.0
NOW = 1_800_000_000.0
APP, OTHER, THIRD = "app.example.org", "other.example.org", "third.example.org"
QUARTER = Validity(NOW, NOW + 90 * DAY)
NAME_FAILS, CA_FAILS = OrderFailed(Scope.NAME, "refused"), OrderFailed(Scope.CA, "unreachable")


def schedule(chance: float = 0.5, **options: int) -> Schedule:
    return Schedule(lambda: chance, **options)


def test_a_new_name_is_ordered_at_once_and_only_once() -> None:
    plan = schedule()

    assert plan.want(APP, None, NOW)
    assert plan.want(APP, None, NOW)
    assert plan.take(NOW) == [APP]
    assert plan.want(APP, None, NOW)
    assert plan.take(NOW + DAY) == []
    assert plan.next_at() is None


@pytest.mark.parametrize(("chance", "part"), [(0.0, 2 / 3 - 0.02), (0.5, 2 / 3), (1.0, 2 / 3 + 0.02)])
def test_renewal_at_two_thirds_of_life_with_jitter(chance: float, part: float) -> None:
    plan = schedule(chance)
    plan.want(APP, QUARTER, NOW)

    at = plan.next_at()

    assert at == pytest.approx(NOW + 90 * DAY * part)
    assert plan.take(NOW + 90 * DAY * part - 1) == []
    assert plan.take(NOW + 90 * DAY * part + 1) == [APP]


def test_a_certificate_that_has_expired_is_ordered_at_once() -> None:
    plan = schedule()
    plan.want(APP, Validity(NOW - 90 * DAY, NOW - DAY), NOW)

    assert plan.take(NOW) == [APP]


def test_names_without_a_certificate_come_before_renewals() -> None:
    plan = schedule(in_flight_max=1)
    plan.want(OTHER, Validity(NOW - 80 * DAY, NOW + 10 * DAY), NOW)
    plan.want(APP, None, NOW + 5)

    assert plan.take(NOW + 5) == [APP]
    plan.succeeded(APP, QUARTER, NOW + 5)
    assert plan.take(NOW + 5) == [OTHER]


def test_orders_under_way_are_bounded() -> None:
    plan = schedule()
    for number in range(100):
        plan.want(f"n{number}.example.org", None, NOW)

    first = plan.take(NOW)

    assert len(first) == plan.in_flight == IN_FLIGHT_MAX
    assert plan.take(NOW) == []
    assert plan.next_at() is None
    plan.succeeded(first[0], QUARTER, NOW)
    assert plan.next_at() is not None
    assert len(plan.take(NOW)) == 1


def test_a_full_schedule_refuses_names_and_remembers_no_released_ones() -> None:
    plan = schedule(names_max=2)

    assert plan.want(APP, None, NOW)
    assert plan.want(OTHER, None, NOW)
    assert not plan.want(THIRD, None, NOW)
    plan.release(APP, NOW)
    assert plan.want(THIRD, None, NOW)


def test_a_failed_name_waits_longer_each_time_and_delays_no_other() -> None:
    plan = schedule(0.0)
    plan.want(APP, None, NOW)
    now, delays = NOW, []
    for _ in range(8):
        assert plan.take(now) == [APP]
        at = plan.failed(APP, NAME_FAILS, now)
        delays.append(at - now)
        now = at

    assert delays == [60, 240, 960, 3840, 15360, 43200, 43200, 43200]
    plan.want(OTHER, None, now - 1)
    assert plan.take(now - 1) == [OTHER]


def test_a_released_name_does_not_lose_its_failures() -> None:
    plan = schedule(0.0)
    plan.want(APP, None, NOW)
    plan.take(NOW)
    plan.failed(APP, NAME_FAILS, NOW)
    plan.release(APP, NOW)
    assert plan.next_at() is None

    plan.want(APP, None, NOW + 1)

    assert plan.take(NOW + 1) == []
    assert plan.next_at() == NOW + NAME_RETRY_S
    assert plan.failures(APP) == 1


def test_saved_failures_count_after_a_restart() -> None:
    plan = schedule()
    plan.restore(APP, 3, NOW + 500, "refused", NOW)
    plan.restore(OTHER, 3, NOW + 400 * DAY, "a clock was wrong", NOW)
    plan.want(APP, None, NOW)
    plan.want(OTHER, None, NOW)

    assert plan.take(NOW) == []
    assert plan.take(NOW + 500) == [APP]
    assert plan.take(NOW + RETRY_AFTER_S_MAX) == [OTHER]


def test_a_ca_that_is_away_delays_all_and_is_tried_with_one_order() -> None:
    plan = schedule(0.0)
    for name in (APP, OTHER, THIRD):
        plan.want(name, None, NOW)
    assert len(plan.take(NOW)) == 3
    for name in (APP, OTHER, THIRD):
        plan.failed(name, CA_FAILS, NOW)

    at = plan.next_at()

    assert at is not None
    assert at >= NOW + CA_RETRY_S
    assert plan.take(at - 1) == []
    [first] = plan.take(at)
    assert plan.take(at) == []
    plan.succeeded(first, QUARTER, at)
    assert len(plan.take(at + 1)) == 2
    assert plan.failures(OTHER) == 0, "the name had no part in it"


def test_the_delay_of_a_ca_grows_to_half_an_hour() -> None:
    plan, now = schedule(0.0), NOW
    plan.want(APP, None, now)
    for _ in range(20):
        plan.take(now)
        at = plan.failed(APP, CA_FAILS, now)
        assert now < at <= now + CA_RETRY_S_MAX
        now = at

    assert plan.failed(APP, CA_FAILS, now) == now + CA_RETRY_S_MAX


def test_retry_after_of_an_unavailable_ca_delays_all() -> None:
    plan = schedule(0.0)
    plan.want(APP, None, NOW)
    plan.take(NOW)
    plan.failed(APP, OrderFailed(Scope.CA, "maintenance", 7200.0), NOW)
    plan.want(OTHER, None, NOW)

    assert plan.take(NOW + 7199) == []
    assert plan.next_at() == NOW + 7200


def test_a_rate_limit_delays_the_name_as_demanded_and_the_others_less() -> None:
    plan = schedule(0.0)
    for name in (APP, OTHER):
        plan.want(name, None, NOW)
    assert plan.take(NOW) == [APP, OTHER]
    plan.failed(APP, OrderFailed(Scope.LIMIT, "too many", 3 * DAY), NOW)
    plan.succeeded(OTHER, QUARTER, NOW)
    plan.want(THIRD, None, NOW)

    assert plan.take(NOW + 59) == []
    assert plan.take(NOW + 61) == [THIRD]
    plan.succeeded(THIRD, QUARTER, NOW + 61)
    assert plan.take(NOW + 3 * DAY - 1) == []
    assert plan.take(NOW + 3 * DAY) == [APP]


def test_rate_limits_in_a_row_pause_all_for_longer() -> None:
    plan, now, pauses = schedule(0.0, in_flight_max=1), NOW, []
    for number in range(9):
        plan.want(f"n{number}.example.org", None, NOW)
    for _ in range(8):
        [name] = plan.take(now)
        plan.failed(name, OrderFailed(Scope.LIMIT, "too many", 7 * DAY), now)
        at = plan.next_at()
        assert at is not None
        pauses.append(at - now)
        now = at

    assert pauses == [60, 120, 240, 480, 960, 1920, LIMIT_PAUSE_S_MAX, LIMIT_PAUSE_S_MAX]


def test_a_suggested_window_moves_the_renewal_within_reason() -> None:
    plan = schedule(0.5)
    plan.want(APP, QUARTER, NOW)

    plan.suggest_window(APP, NOW + 10 * DAY, NOW + 12 * DAY)
    assert plan.next_at() == NOW + 11 * DAY
    plan.suggest_window(APP, NOW + 200 * DAY, NOW + 300 * DAY)
    assert plan.next_at() == NOW + 81 * DAY, "not after nine tenths of its life"
    plan.suggest_window(APP, NOW - 2 * DAY, NOW - DAY)
    assert plan.take(NOW) == [APP], "a window that is over: the certificate may be revoked"


def test_suggested_windows_are_read_at_the_ca_s_interval() -> None:
    plan = schedule()
    plan.want(APP, QUARTER, NOW)
    plan.want(OTHER, None, NOW)

    assert plan.checks(NOW) == [APP]
    plan.checked(APP, None, NOW)
    assert plan.checks(NOW + CHECK_S - 1) == []
    assert plan.checks(NOW + CHECK_S) == [APP]
    plan.checked(APP, 100 * DAY, NOW)
    assert plan.checks(NOW + CHECK_S_MAX) == [APP]
    assert plan.checks(NOW + 91 * DAY) == [], "RFC 9773: not after it has expired"


@given(st.integers(0, 2**32), st.integers(1, 40))
def test_every_name_gets_its_certificate_whatever_fails_before(seed: int, names: int) -> None:
    dice = random.Random(seed)
    plan, now = Schedule(dice.random), NOW
    wanted = {f"n{number}.example.org" for number in range(names)}
    for name in wanted:
        plan.want(name, None, now)
    done: set[str] = set()
    for step in range(5000):
        for name in plan.take(now):
            if step > 200 or dice.random() < 0.3:
                plan.succeeded(name, Validity(now, now + 10_000 * DAY), now)
                done.add(name)
            else:
                plan.failed(name, OrderFailed(dice.choice(list(Scope)), "x", dice.choice([None, 0.0, 50.0, 1e9])), now)
        if done == wanted:
            return
        at = plan.next_at()
        assert at is not None
        assert at <= now + RETRY_AFTER_S_MAX * 1.2
        now = max(at, now)
    raise AssertionError(wanted - done)


class Flapping(RuleBasedStateMachine):
    """Names that come and go, orders that end one way or another, and a clock that runs."""

    def __init__(self) -> None:
        super().__init__()
        self.now = NOW
        self.plan = Schedule(random.Random(3).random, in_flight_max=3, names_max=6)
        self.under_way: list[str] = []
        self.wanted: set[str] = set()

    names = st.sampled_from([f"n{number}" for number in range(8)])

    @rule(name=names, life=st.sampled_from([None, -1.0, 100.0, 90 * DAY]))
    def want(self, name: str, life: float | None) -> None:
        if self.plan.want(name, None if life is None else Validity(self.now - 50, self.now + life), self.now):
            self.wanted.add(name)

    @rule(name=names)
    def release(self, name: str) -> None:
        self.plan.release(name, self.now)
        self.wanted.discard(name)

    @rule(seconds=st.sampled_from([0.0, 1.0, 100.0, DAY, 30 * DAY]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def take(self) -> None:
        due = self.plan.next_at()
        names = self.plan.take(self.now)
        assert bool(names) == (due is not None and due <= self.now)
        assert not set(names) & set(self.under_way)
        assert set(names) <= self.wanted
        self.under_way += names

    @precondition(lambda self: self.under_way)
    @rule(life=st.sampled_from([1.0, 90 * DAY]))
    def succeed(self, life: float) -> None:
        self.plan.succeeded(self.under_way.pop(), Validity(self.now, self.now + life), self.now)

    @precondition(lambda self: self.under_way)
    @rule(scope=st.sampled_from(list(Scope)), retry_after_s=st.sampled_from([None, 5.0, 1e12]))
    def fail(self, scope: Scope, retry_after_s: float | None) -> None:
        at = self.plan.failed(self.under_way.pop(0), OrderFailed(scope, "x", retry_after_s), self.now)
        assert self.now < at <= self.now + RETRY_AFTER_S_MAX

    @rule(name=names, start=st.floats(-DAY, 100 * DAY), length=st.floats(0, DAY))
    def suggest(self, name: str, start: float, length: float) -> None:
        self.plan.suggest_window(name, self.now + start, self.now + start + length)

    @invariant()
    def bounded(self) -> None:
        rows = list(self.plan.rows())
        assert len(rows) <= 6
        assert self.plan.in_flight == len(self.under_way) <= 3
        assert self.wanted <= {row.name for row in rows}
        assert len(self.plan._missing) + len(self.plan._renewals) <= 2 * (2 * 6 + 65)


TestFlapping = Flapping.TestCase
