"""When to dial again: pure, with randomness set by the test."""

import itertools
import random

from hypothesis import given
from hypothesis import strategies as st

from portway.links.backoff import DELAY_S_MAX, SHORT_SESSIONS_MAX, STABLE_S_MIN, Backoff


def test_the_first_retry_is_at_once_and_the_next_ones_ever_later() -> None:
    backoff = Backoff(lambda: 0.999999)
    delays = [backoff.next_delay_s() for _ in range(12)]
    assert delays[0] == 0
    assert all(later >= earlier for earlier, later in itertools.pairwise(delays))
    assert 0.05 < delays[1] <= 0.1
    assert 29.9 < delays[-1] <= DELAY_S_MAX


def test_a_session_that_lived_is_worth_a_retry_at_once() -> None:
    backoff = Backoff(random.Random(1).random)
    for _ in range(5):
        backoff.next_delay_s()
    backoff.session_ended(60.0)
    assert backoff.next_delay_s() == 0


def test_a_short_session_does_not_reset_the_back_off() -> None:
    backoff = Backoff(random.Random(1).random)
    delays = []
    for _ in range(20):
        backoff.session_ended(0.1)
        delays.append(backoff.next_delay_s())
    assert min(delays) >= 0.05
    assert max(delays) <= 0.1, "a network that flaps is put up with for a while"


def test_short_sessions_are_not_retried_fast_for_ever() -> None:
    backoff = Backoff(lambda: 0.0)
    waited_s = 0.0
    tries = 0
    while waited_s < 3600:
        backoff.session_ended(4.9)
        waited_s += backoff.next_delay_s()
        tries += 1
    assert tries < SHORT_SESSIONS_MAX + 3600 / (DELAY_S_MAX / 2) + 10
    backoff.session_ended(STABLE_S_MIN)
    assert backoff.next_delay_s() == 0
    for _ in range(5):
        backoff.session_ended(0.1)
        assert backoff.next_delay_s() <= 0.1, "one that lived makes up for all before"


def test_many_agents_do_not_reconnect_together() -> None:
    fleet = [Backoff(random.Random(number).random) for number in range(200)]
    for agent in fleet:
        for _ in range(5):
            agent.next_delay_s()
    delays = sorted(agent.next_delay_s() for agent in fleet)
    assert delays[-1] - delays[0] > delays[-1] * 0.4


@given(st.lists(st.one_of(st.none(), st.floats(0, 100)), max_size=100), st.floats(0, 0.999999))
def test_no_delay_is_ever_longer_than_half_a_minute(steps: list[float | None], chance: float) -> None:
    backoff = Backoff(lambda: chance)
    for lived_s in steps:
        if lived_s is not None:
            backoff.session_ended(lived_s)
        assert 0 <= backoff.next_delay_s() <= DELAY_S_MAX


def test_ten_thousand_failures_are_no_overflow() -> None:
    backoff = Backoff(lambda: 0.5)
    for _ in range(10_000):
        assert backoff.next_delay_s() <= DELAY_S_MAX
