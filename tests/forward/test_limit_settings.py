import pytest

from portway.engine.policy import UNLIMITED, Policy
from portway.errors import ConfigError
from portway.forward.limit_settings import LimitSettings


def test_settings_become_a_policy() -> None:
    assert LimitSettings().limits == UNLIMITED
    assert LimitSettings(idle_timeout_s=5, max_total_payload=10).limits == Policy(idle_timeout_s=5, max_total_payload=10)


def test_incompatible_limits_are_refused() -> None:
    with pytest.raises(ConfigError, match="min_rate_bpm"):
        LimitSettings(min_rate_bpm=1000, max_rate_bps=1).limits.check()
