"""Sources: how long a login counts."""

import pytest

from portway.links import sources as sources_module
from portway.links.sources import KNOWN_FOR_S, Sources


def test_a_source_is_known_for_a_day_after_a_login() -> None:
    sources = Sources()
    assert not sources.is_known("a", 0.0)
    sources.logged_in("a", 100.0)
    assert sources.is_known("a", 100.0 + KNOWN_FOR_S - 1)
    assert not sources.is_known("a", 100.0 + KNOWN_FOR_S)
    assert not sources.is_known("b", 100.0)


def test_the_number_of_sources_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources_module, "SOURCES_MAX", 10)
    sources = Sources()
    for number in range(100):
        sources.logged_in(f"s{number}", 0.0)
        sources.logged_in("busy", 0.0)
    assert len(sources._logged_in) == 10
    assert sources.is_known("busy", 0.0), "who comes all the time is not forgotten"
