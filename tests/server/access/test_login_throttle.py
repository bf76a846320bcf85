"""The gate: few strangers at a time, fewer tries for whoever fails, and never a table without a bound."""

import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portway.errors import RefusedError
from portway.links.sources import Sources
from portway.server.access import login_throttle as gate_module
from portway.server.access.login_throttle import FAILURES_WITHOUT_DELAY, FORGET_S, KNOWN_WAIT_S_MAX, SOURCES_MAX, UNAUTHENTICATED_MAX
from portway.server.access.login_throttle import LoginThrottle as PureGate


class IncomingLink:
    """A stranger who notes that it had to go."""

    def __init__(self) -> None:
        self.gone = False

    def evict(self) -> None:
        self.gone = True


class LoginThrottle(PureGate):
    """A gate with strangers of its own making."""

    def __init__(self) -> None:
        super().__init__(Sources(), random.Random(1).random)

    def come(self, host: str, now: float = 0.0) -> Callable[[], None]:
        return self.admit(host, IncomingLink(), now)


def turned_away(gate: LoginThrottle, host: str, now: float) -> str:
    with pytest.raises(RefusedError) as refusal:
        gate.come(host, now)
    assert refusal.value.code == "too_many_logins"
    assert refusal.value.next_step
    return refusal.value.reason


def test_one_source_may_hold_all_places_and_gives_them_up_to_others() -> None:
    gate = LoginThrottle()
    office = [IncomingLink() for _ in range(UNAUTHENTICATED_MAX)]
    leave = [gate.admit("192.0.2.1", guest, 0.0) for guest in office]
    assert "512 of them by 192.0.2.1" in turned_away(gate, "192.0.2.1", 0.0)
    for number in range(100):
        gate.come(f"198.51.100.{number}")
    assert [guest.gone for guest in office] == [True] * 100 + [False] * 412
    assert gate.unauthenticated == UNAUTHENTICATED_MAX
    leave[0]()
    leave[200]()
    leave[200]()
    assert gate.unauthenticated == UNAUTHENTICATED_MAX - 1


def test_a_source_that_fails_waits_twice_as_long_each_time() -> None:
    gate = LoginThrottle()
    for _ in range(FAILURES_WITHOUT_DELAY - 1):
        gate.record_failure("192.0.2.1", 0.0)
        gate.come("192.0.2.1", 0.0)()
    now = 0.0
    for wait_s in (1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300):
        gate.record_failure("192.0.2.1", now)
        assert "logins from 192.0.2.1 failed" in turned_away(gate, "192.0.2.1", now + wait_s - 0.01)
        now += wait_s
        gate.come("192.0.2.1", now)()
    gate.come("192.0.2.2", 0.0)


def test_at_most_fifty_guesses_a_minute_are_looked_at_from_one_source() -> None:
    gate = LoginThrottle()
    looked_at, now = 0, 0.0
    while now < 60.0:
        try:
            gate.come("192.0.2.1", now)()
        except RefusedError:
            now += 0.01
            continue
        looked_at += 1
        gate.record_failure("192.0.2.1", now)
    assert looked_at <= 50


def waits(gate: LoginThrottle, host: str, token: str, now: float) -> bool:
    try:
        gate.check(host, token, now)
    except RefusedError as refusal:
        return refusal.code == "too_many_logins"
    return False


def test_a_neighbour_with_a_wrong_token_does_not_keep_those_out_who_have_been_in() -> None:
    gate = LoginThrottle()
    gate.record_login("192.0.2.1", "good", 0.0)
    for second in range(100):
        gate.record_failure("192.0.2.1", float(second), "bad")
        gate.come("192.0.2.1", second + 0.5)()
        assert not waits(gate, "192.0.2.1", "good", second + 0.5)
    assert waits(gate, "192.0.2.1", "bad", 99.5)
    assert waits(gate, "192.0.2.1", "new", 99.5), "who has never been in waits as before"
    assert waits(gate, "192.0.2.1", "", 99.5), "so does a further link's ticket"
    assert not waits(gate, "192.0.2.2", "bad", 99.5)
    assert waits(gate, "192.0.2.1", "good", 99.5 + 2 * 86_400) is False, "by then the source starts afresh"


def test_guesses_at_a_token_that_has_been_in_are_few_too_and_never_lock_it_out_for_long() -> None:
    gate = LoginThrottle()
    gate.record_login("192.0.2.1", "good", 0.0)
    looked_at, now = 0, 0.0
    while now < 60.0:
        if waits(gate, "192.0.2.1", "good", now):
            now += 0.01
            continue
        looked_at += 1
        gate.record_failure("192.0.2.1", now, "good")
    assert looked_at <= 50
    assert not waits(gate, "192.0.2.1", "good", now + KNOWN_WAIT_S_MAX)
    assert not waits(gate, "192.0.2.1", "other", now), "nobody else at that source waits for it"


def test_a_quiet_source_starts_afresh() -> None:
    gate = LoginThrottle()
    for _ in range(FAILURES_WITHOUT_DELAY + 3):
        gate.record_failure("192.0.2.1", 0.0)
    gate.record_failure("192.0.2.1", FORGET_S + 1)
    gate.come("192.0.2.1", FORGET_S + 1)


def test_what_is_remembered_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate_module, "SOURCES_MAX", 10)
    gate = LoginThrottle()
    for number in range(100):
        gate.record_failure(f"192.0.2.{number}", 0.0)
        gate.record_login(f"192.0.2.{number}", "t", 0.0)
    assert len(gate._failed) == len(gate._logged_in) == 10
    assert SOURCES_MAX > 10


def test_who_fails_again_and_again_is_not_forgotten_for_others_who_fail_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate_module, "SOURCES_MAX", 10)
    gate = LoginThrottle()
    for number in range(100):
        gate.record_failure("192.0.2.1", 0.0)
        gate.record_failure(f"198.51.100.{number}", 0.0)
    assert "100 logins from 192.0.2.1 failed" in turned_away(gate, "192.0.2.1", 299.0)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=200))
def test_places_are_given_back_exactly(steps: list[tuple[str, bool]]) -> None:
    gate, inside = LoginThrottle(), []
    for host, enters in steps:
        if enters:
            inside.append(gate.come(host, 0.0))
        elif inside:
            inside.pop()()
    assert gate.unauthenticated == len(inside)
    for leave in inside:
        leave()
    assert gate.unauthenticated == 0
