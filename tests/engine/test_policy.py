"""Which limit ends a relay, and when, as tables: byte counts and times as arguments, reasons as results."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portway.engine.policy import CHECKS_PER_IDLE_TIMEOUT, MINUTE_S, NEVER, UNLIMITED, Policy, PolicyMonitor, strictest
from portway.engine.tally import IDLE, LIFETIME, TOO_SLOW
from portway.errors import ConfigError


def followed(policy: Policy, moved: list[tuple[float, int]], until: float = 1e6) -> tuple[str, float, int]:
    """Return why and when a relay ended that had moved these counts at these times, and the number of checks."""
    monitor = PolicyMonitor(policy, 0.0)
    reason, at = monitor.check(0.0, 0)
    checks = 0
    while not reason and at < until:
        now = at
        reason, at = monitor.check(now, max((count for when, count in moved if when <= now), default=0))
        checks += 1
        if reason:
            return reason, now, checks
        assert at > now, "a look that asks to be repeated at once would spin"
    return "", until, checks


def test_a_relay_on_which_nothing_moves_ends_when_its_idle_time_is_over() -> None:
    assert followed(Policy(idle_timeout_s=10.0), []) == (IDLE, 10.0, CHECKS_PER_IDLE_TIMEOUT)


@pytest.mark.parametrize("last_at", [0.1, 3.0, 9.9, 23.456])
def test_idle_counts_from_the_last_byte_and_is_noticed_a_quarter_late_at_most(last_at: float) -> None:
    steady = [(tenth / 10, tenth + 1) for tenth in range(1, int(last_at * 10))]
    reason, ended_at, checks = followed(Policy(idle_timeout_s=10.0), [*steady, (last_at, 10_000)])
    assert reason == IDLE
    assert last_at + 10.0 <= ended_at <= last_at + 10.0 * (1 + 1 / CHECKS_PER_IDLE_TIMEOUT)
    assert checks <= 2 + CHECKS_PER_IDLE_TIMEOUT * ended_at / 10.0


def test_a_relay_on_which_something_moves_is_not_idle() -> None:
    steady = [(float(second), second) for second in range(1, 1000)]
    assert followed(Policy(idle_timeout_s=3.0), steady, until=900.0)[0] == ""


def test_a_slow_relay_ends_after_the_minute_that_brought_too_little() -> None:
    enough_at_first = [(1.0, 500), (MINUTE_S + 1, 1000), (2 * MINUTE_S + 1, 1499), (2 * MINUTE_S + 50, 1499)]
    assert followed(Policy(min_rate_bpm=500), enough_at_first)[:2] == (TOO_SLOW, 3 * MINUTE_S)
    assert followed(Policy(min_rate_bpm=500), [(0.0, 0)])[:2] == (TOO_SLOW, MINUTE_S)


def test_a_pause_within_a_minute_is_allowed() -> None:
    bursts = [(minute * MINUTE_S + 59.0, 500 * (minute + 1)) for minute in range(20)]
    assert followed(Policy(min_rate_bpm=500), bursts, until=15 * MINUTE_S)[0] == ""


def test_a_lifetime_ends_the_busiest_relay() -> None:
    busy = [(second / 10, second * 1000) for second in range(1, 1000)]
    assert followed(Policy(max_lifetime_s=7.0), busy) == (LIFETIME, 7.0, 1)
    assert followed(Policy(max_lifetime_s=7.0, idle_timeout_s=1.0), busy)[:2] == (LIFETIME, 7.0)


def test_without_time_limits_there_are_no_checks() -> None:
    for policy in (UNLIMITED, Policy(max_rate_bps=5, bandwidth_bps=9, max_total_payload=7)):
        assert not policy.has_time_limits
        assert PolicyMonitor(policy, 0.0).check(0.0, 0) == ("", NEVER)


@pytest.mark.parametrize("name", ["idle_timeout_s", "min_rate_bpm", "max_rate_bps", "bandwidth_bps", "max_lifetime_s", "max_total_payload"])
def test_a_limit_of_zero_is_refused_by_its_name(name: str) -> None:
    for value in (0, -1, NEVER, float("nan")):
        with pytest.raises(ConfigError, match=f"^{name.removesuffix('_s')}: invalid limit .*: expected more than 0"):
            Policy(**{name: value})  # type: ignore[arg-type]


def test_a_minute_that_no_relay_could_fill_is_refused() -> None:
    for rates in ({"max_rate_bps": 1000}, {"bandwidth_bps": 1000}, {"max_rate_bps": 10_000, "bandwidth_bps": 1000}):
        with pytest.raises(
            ConfigError, match="invalid minimum of 60000 bytes per minute: expected less than the maximum rate, 60000 per minute"
        ):
            Policy(min_rate_bpm=60_000, **rates).check()
        Policy(min_rate_bpm=59_999, **rates).check()


optional = st.none() | st.integers(1, 1000)
policies = st.builds(
    Policy,
    idle_timeout_s=optional,
    min_rate_bpm=optional,
    max_rate_bps=optional,
    bandwidth_bps=optional,
    max_lifetime_s=optional,
    max_total_payload=optional,
)


@given(st.lists(policies, min_size=1, max_size=4))
def test_the_strictest_of_some_policies_satisfies_them_all(found: list[Policy]) -> None:
    whole = strictest(found)
    for policy in found:
        for name in ("idle_timeout_s", "max_rate_bps", "max_lifetime_s", "max_total_payload"):
            asked, got = getattr(policy, name), getattr(whole, name)
            assert asked is None or got <= asked
        assert policy.min_rate_bpm is None or (whole.min_rate_bpm or 0) >= policy.min_rate_bpm
    assert strictest([UNLIMITED, UNLIMITED]).is_unlimited
