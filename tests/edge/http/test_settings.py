"""The edge's settings."""

from math import inf

import pytest

from portway.edge.http.settings import HttpEdgeSettings
from portway.errors import ConfigError


def test_the_defaults_are_the_design_s() -> None:
    settings = HttpEdgeSettings()
    assert (settings.head_s, settings.idle_s, settings.hold_s) == (10.0, 60.0, 5.0)


def test_no_deadline_ends_a_request_in_progress() -> None:
    settings = HttpEdgeSettings()
    assert settings.response_s == settings.stall_s == settings.silence_s == inf


def test_what_could_never_work_is_refused_with_its_name() -> None:
    for broken in ({"head_s": 0.0}, {"idle_s": -1.0}, {"visitors_max": 0}, {"pool_idle_max": -1}, {"body_bytes_max": -1}):
        with pytest.raises(ConfigError, match=next(iter(broken))):
            HttpEdgeSettings(**broken)


def test_some_things_can_be_switched_off() -> None:
    HttpEdgeSettings(hold_s=0.0, held_max=0, pool_idle_max=0, pool_serial_idle_s=0.0, body_bytes_max=0)
