"""Limits as options: units, flags, variables, and errors that name the source."""

import re

import pytest

from portway.cli.limits import describe_policy, read_limits
from portway.engine.policy import UNLIMITED, Policy
from portway.errors import ConfigError
from tests.cli.conftest import Portway

FLAGS = ["--idle-timeout", "--min-rate", "--max-rate", "--bandwidth", "--max-lifetime", "--max-total-payload"]


def test_every_limit_has_its_unit() -> None:
    given = {
        "idle_timeout": "10s",
        "min_rate": "1kb",
        "max_rate": "1mb",
        "bandwidth": "2MiB",
        "max_lifetime": "2h",
        "max_total_payload": "5",
    }
    policy = read_limits(given)
    assert policy == Policy(
        idle_timeout_s=10.0, min_rate_bpm=1000, max_rate_bps=10**6, bandwidth_bps=2 << 20, max_lifetime_s=7200.0, max_total_payload=5
    )
    assert describe_policy(policy) == (
        "idle at most 10s, at least 1000 B/min, at most 977 KiB/s per connection, at most 2 MiB/s together, open at most 2h, at most 5 B per connection"
    )


def test_missing_options_do_not_limit() -> None:
    assert read_limits({}) == read_limits({"max_rate": None, "other": "x"}) == UNLIMITED
    assert describe_policy(UNLIMITED) == ""


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"max_rate": "fast"}, "--max-rate: invalid size 'fast'"),
        ({"idle_timeout": "10"}, "--idle-timeout: invalid duration '10'"),
        ({"max_lifetime": "0s"}, "--max-lifetime: invalid limit 0: expected more than 0"),
        ({"max_total_payload": "0"}, "--max-total-payload: invalid limit 0: expected more than 0"),
        ({"bandwidth": "x", "min_rate": "y"}, "--min-rate: invalid size 'y'.*\n--bandwidth: invalid size 'x'"),
        ({"min_rate": "6kb", "max_rate": "100b"}, "--min-rate: invalid minimum of 6000 bytes per minute"),
    ],
)
def test_errors_name_the_flag_and_what_was_expected(given: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as found:
        read_limits(given)
    assert re.match(message, str(found.value))


def test_tunnels_and_tokens_have_all_limit_options(portway: Portway) -> None:
    for command in (("http", "--help"), ("tcp", "--help"), ("token", "create", "--help")):
        shown = portway(*command).stdout
        assert [flag for flag in FLAGS if flag not in shown] == []


def test_a_limit_from_the_environment_is_checked_the_same_way(portway: Portway) -> None:
    done = portway("tcp", "5432", env={"PORTWAY_MAX_RATE": "soon"})
    assert done.exit_code == 2
    assert "PORTWAY_MAX_RATE: invalid size 'soon'" in done.stderr
