"""Login throttle: bounded unauthenticated links, delays after failures, and bounded tables."""

import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portway.credentials import failure_delays as delays_module
from portway.credentials.failure_delays import FAILURES_WITHOUT_DELAY, FORGET_S, SOURCES_MAX
from portway.errors import RefusedError
from portway.links.sources import Sources
from portway.server.access.login_throttle import KNOWN_WAIT_S_MAX, UNAUTHENTICATED_MAX
from portway.server.access.login_throttle import LoginThrottle as RealThrottle


class FakeLink:
    """An unauthenticated link that records its eviction."""

    def __init__(self) -> None:
        self.evicted = False

    def evict(self) -> None:
        self.evicted = True


class LoginThrottle(RealThrottle):
    """A throttle that admits fake links."""

    def __init__(self) -> None:
        super().__init__(Sources(), random.Random(1).random)

    def connect(self, host: str, now: float = 0.0) -> Callable[[], None]:
        return self.admit(host, FakeLink(), now)


def refusal_of(throttle: LoginThrottle, host: str, now: float) -> str:
    with pytest.raises(RefusedError) as refusal:
        throttle.connect(host, now)
    assert refusal.value.code == "too_many_logins"
    assert refusal.value.next_step
    return refusal.value.reason


def test_one_source_may_take_all_slots_and_loses_them_to_others() -> None:
    throttle = LoginThrottle()
    office = [FakeLink() for _ in range(UNAUTHENTICATED_MAX)]
    release = [throttle.admit("192.0.2.1", link, 0.0) for link in office]
    assert "512 of them by 192.0.2.1" in refusal_of(throttle, "192.0.2.1", 0.0)
    for number in range(100):
        throttle.connect(f"198.51.100.{number}")
    assert [link.evicted for link in office] == [True] * 100 + [False] * 412
    assert throttle.unauthenticated == UNAUTHENTICATED_MAX
    release[0]()
    release[200]()
    release[200]()
    assert throttle.unauthenticated == UNAUTHENTICATED_MAX - 1


def test_the_delay_of_a_source_doubles_with_each_failure() -> None:
    throttle = LoginThrottle()
    for _ in range(FAILURES_WITHOUT_DELAY - 1):
        throttle.record_failure("192.0.2.1", 0.0)
        throttle.connect("192.0.2.1", 0.0)()
    now = 0.0
    for wait_s in (1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300):
        throttle.record_failure("192.0.2.1", now)
        assert "logins from 192.0.2.1 failed" in refusal_of(throttle, "192.0.2.1", now + wait_s - 0.01)
        now += wait_s
        throttle.connect("192.0.2.1", now)()
    throttle.connect("192.0.2.2", 0.0)


def test_at_most_fifty_guesses_per_minute_are_checked_from_one_source() -> None:
    throttle = LoginThrottle()
    checked, now = 0, 0.0
    while now < 60.0:
        try:
            throttle.connect("192.0.2.1", now)()
        except RefusedError:
            now += 0.01
            continue
        checked += 1
        throttle.record_failure("192.0.2.1", now)
    assert checked <= 50


def is_delayed(throttle: LoginThrottle, host: str, token: str, now: float) -> bool:
    try:
        throttle.check(host, token, now)
    except RefusedError as refusal:
        return refusal.code == "too_many_logins"
    return False


def test_failures_of_one_token_do_not_delay_tokens_that_have_logged_in_from_the_source() -> None:
    throttle = LoginThrottle()
    throttle.record_login("192.0.2.1", "good", 0.0)
    for second in range(100):
        throttle.record_failure("192.0.2.1", float(second), "bad")
        throttle.connect("192.0.2.1", second + 0.5)()
        assert not is_delayed(throttle, "192.0.2.1", "good", second + 0.5)
    assert is_delayed(throttle, "192.0.2.1", "bad", 99.5)
    assert is_delayed(throttle, "192.0.2.1", "new", 99.5), "a token without earlier logins is delayed"
    assert is_delayed(throttle, "192.0.2.1", "", 99.5), "so is the ticket of a further link"
    assert not is_delayed(throttle, "192.0.2.2", "bad", 99.5)
    assert is_delayed(throttle, "192.0.2.1", "good", 99.5 + 2 * 86_400) is False, "by then the failures are forgotten"


def test_guesses_at_a_token_that_has_logged_in_are_limited_and_delay_it_briefly() -> None:
    throttle = LoginThrottle()
    throttle.record_login("192.0.2.1", "good", 0.0)
    checked, now = 0, 0.0
    while now < 60.0:
        if is_delayed(throttle, "192.0.2.1", "good", now):
            now += 0.01
            continue
        checked += 1
        throttle.record_failure("192.0.2.1", now, "good")
    assert checked <= 50
    assert not is_delayed(throttle, "192.0.2.1", "good", now + KNOWN_WAIT_S_MAX)
    assert not is_delayed(throttle, "192.0.2.1", "other", now), "other tokens of the source are not delayed"


def test_failures_of_a_quiet_source_are_forgotten() -> None:
    throttle = LoginThrottle()
    for _ in range(FAILURES_WITHOUT_DELAY + 3):
        throttle.record_failure("192.0.2.1", 0.0)
    throttle.record_failure("192.0.2.1", FORGET_S + 1)
    throttle.connect("192.0.2.1", FORGET_S + 1)


def test_the_tables_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delays_module, "SOURCES_MAX", 10)
    throttle = LoginThrottle()
    for number in range(100):
        throttle.record_failure(f"192.0.2.{number}", 0.0)
        throttle.record_login(f"192.0.2.{number}", "t", 0.0)
    assert len(throttle._delays._failed) == len(throttle._delays._succeeded) == 10
    assert SOURCES_MAX > 10


def test_repeated_failures_are_not_displaced_by_single_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delays_module, "SOURCES_MAX", 10)
    throttle = LoginThrottle()
    for number in range(100):
        throttle.record_failure("192.0.2.1", 0.0)
        throttle.record_failure(f"198.51.100.{number}", 0.0)
    assert "100 logins from 192.0.2.1 failed" in refusal_of(throttle, "192.0.2.1", 299.0)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=200))
def test_every_slot_is_released_exactly_once(steps: list[tuple[str, bool]]) -> None:
    throttle, admitted = LoginThrottle(), []
    for host, enters in steps:
        if enters:
            admitted.append(throttle.connect(host, 0.0))
        elif admitted:
            admitted.pop()()
    assert throttle.unauthenticated == len(admitted)
    for release in admitted:
        release()
    assert throttle.unauthenticated == 0
