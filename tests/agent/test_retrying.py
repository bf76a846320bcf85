"""When an agent tries again, and when it does not."""

import pytest

from portway.agent.retrying import REFUSED_S, REFUSED_S_MAX, Retrying
from portway.credentials.failure_delays import FORGET_S
from portway.protocol.control import codes

FINAL = ("token_revoked", "token_expired", "wrong_pin", "replaced", "name_in_use")


def retrying() -> Retrying:
    return Retrying(lambda: 0.0)


@pytest.mark.parametrize("code", [*sorted(codes.DESCRIPTIONS), "a_code_of_the_future"])
def test_any_refusal_ends_an_agent_that_was_never_online(code: str) -> None:
    assert retrying().is_final(code, logged_in_s=0.0, had_tunnels=False)


@pytest.mark.parametrize("code", [*sorted(codes.DESCRIPTIONS), "a_code_of_the_future"])
def test_an_agent_that_was_online_retries_after_repairable_refusals(code: str) -> None:
    one = retrying()
    one.delay_s(logged_in_s=60.0)

    assert one.is_final(code, logged_in_s=0.0, had_tunnels=True) == (code in FINAL)


def test_a_wrong_certificate_is_not_final_after_a_valid_one() -> None:
    one = retrying()
    assert one.is_final("wrong_certificate", logged_in_s=0.0, had_tunnels=False)
    one.delay_s(logged_in_s=0.1)
    assert not one.is_final("wrong_certificate", logged_in_s=0.0, had_tunnels=False)


def test_lost_sessions_are_retried_soon_and_refusals_at_growing_intervals() -> None:
    one = retrying()
    assert [one.delay_s(logged_in_s=0.0) for _ in range(2)] == [0.0, 0.05]
    pauses = [one.delay_s(logged_in_s=0.0, refusal="bad_credentials") for _ in range(8)]

    assert pauses[:3] == [0.75 * REFUSED_S * factor for factor in (1, 2, 4)]
    assert pauses[-1] == 0.75 * REFUSED_S_MAX
    assert pauses[-1] > FORGET_S, "a server that remembers a refusal would let others behind the same address wait"


def test_a_long_session_resets_the_count_of_refusals() -> None:
    one = retrying()
    for _ in range(5):
        one.delay_s(logged_in_s=0.0, refusal="host_not_allowed")
    one.delay_s(logged_in_s=6.0)

    assert one.delay_s(logged_in_s=0.0, refusal="host_not_allowed") == 0.75 * REFUSED_S
