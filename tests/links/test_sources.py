"""What is remembered of sources: logins, and handshakes that came to nothing."""

import pytest

from portway.links import sources as sources_module
from portway.links.sources import HANDSHAKES_BURST, HANDSHAKES_PER_S, KNOWN_FOR_S, Sources


def begun(sources: Sources, source: str, now: float, tries: int) -> int:
    """Return how many of so many handshakes may begin."""
    return sum(sources.may_begin(source, now) for _ in range(tries))


def test_a_source_is_known_for_a_day_after_a_login() -> None:
    sources = Sources()
    assert not sources.is_known("a", 0.0)
    sources.logged_in("a", 100.0)
    assert sources.is_known("a", 100.0 + KNOWN_FOR_S - 1)
    assert not sources.is_known("a", 100.0 + KNOWN_FOR_S)
    assert not sources.is_known("b", 100.0)


def test_handshakes_that_lead_to_nothing_are_bounded_for_each_source() -> None:
    sources = Sources()
    assert begun(sources, "a", 0.0, HANDSHAKES_BURST + 100) == HANDSHAKES_BURST
    assert begun(sources, "a", 1.0, 100) == HANDSHAKES_PER_S
    assert begun(sources, "a", 1.0 + HANDSHAKES_BURST, 2 * HANDSHAKES_BURST) == HANDSHAKES_BURST, (
        "a burst at most, however long it was quiet"
    )
    assert begun(sources, "b", 1.0, 1) == 1


def test_a_login_gives_its_permit_back() -> None:
    sources = Sources()
    for _ in range(10 * HANDSHAKES_BURST):
        assert sources.may_begin("office", 0.0), "agents that log in may come as often as they like"
        sources.logged_in("office", 0.0)


def test_what_is_remembered_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources_module, "SOURCES_MAX", 10)
    sources = Sources()
    for number in range(100):
        sources.logged_in(f"s{number}", 0.0)
        sources.may_begin(f"s{number}", 0.0)
        sources.may_begin("busy", 0.0)
    assert len(sources._logged_in) == len(sources._permits) == 10
    assert begun(sources, "busy", 0.0, HANDSHAKES_BURST) == HANDSHAKES_BURST - 100, "who comes all the time is not forgotten"
