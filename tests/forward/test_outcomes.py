"""Each outcome in each protocol."""

import pytest

from portway.forward.outcomes import NAMES, Failure, Outcome


@pytest.mark.parametrize("outcome", Outcome)
def test_every_outcome_has_a_name_in_every_protocol(outcome: Outcome) -> None:
    names = Failure(outcome, "text").names
    assert (names.socks5 == 0) == (names.socks4 == 90) == (names.status == 200) == (outcome is Outcome.ESTABLISHED)
    assert 0 <= names.socks5 <= 8
    assert names.phrase


def test_failures_of_the_target_are_told_apart() -> None:
    failed = [NAMES[one] for one in (Outcome.DNS_FAILED, Outcome.REFUSED, Outcome.UNREACHABLE, Outcome.CONNECT_TIMEOUT)]
    assert len({names.error for names in failed}) == len({names.socks5 for names in failed}) == 4
