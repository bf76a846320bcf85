"""The gate: few strangers at a time, fewer tries for whoever fails, and never a table without a bound."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portway.errors import RefusedError
from portway.server.access import gate as gate_module
from portway.server.access.gate import FORGET_S, FREE_FAILURES, SOURCES_MAX, STRANGERS_MAX, STRANGERS_PER_SOURCE_MAX, Gate


def turned_away(gate: Gate, host: str, now: float) -> str:
    with pytest.raises(RefusedError) as refusal:
        gate.enter(host, now)
    assert refusal.value.code == "too_many_logins"
    assert refusal.value.next_step
    return refusal.value.reason


def test_one_source_takes_a_part_of_the_places_only() -> None:
    gate = Gate()
    leave = [gate.enter("192.0.2.1", 0.0) for _ in range(STRANGERS_PER_SOURCE_MAX)]
    assert "from 192.0.2.1" in turned_away(gate, "192.0.2.1", 0.0)
    gate.enter("192.0.2.2", 0.0)
    leave[0]()
    leave[0]()
    gate.enter("192.0.2.1", 0.0)
    turned_away(gate, "192.0.2.1", 0.0)


def test_all_sources_together_have_a_bound() -> None:
    gate = Gate()
    places = [gate.enter(f"192.0.{number // 100}.{number % 100}", 0.0) for number in range(STRANGERS_MAX)]
    turned_away(gate, "198.51.100.1", 0.0)
    for leave in places:
        leave()
    assert gate.strangers == 0
    gate.enter("198.51.100.1", 0.0)


def test_a_source_that_fails_waits_twice_as_long_each_time() -> None:
    gate = Gate()
    for _ in range(FREE_FAILURES - 1):
        gate.failed("192.0.2.1", 0.0)
        gate.enter("192.0.2.1", 0.0)()
    now = 0.0
    for wait_s in (1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300):
        gate.failed("192.0.2.1", now)
        assert "logins from 192.0.2.1 failed" in turned_away(gate, "192.0.2.1", now + wait_s - 0.01)
        now += wait_s
        gate.enter("192.0.2.1", now)()
    gate.enter("192.0.2.2", 0.0)


def test_at_most_fifty_guesses_a_minute_are_looked_at_from_one_source() -> None:
    gate = Gate()
    looked_at, now = 0, 0.0
    while now < 60.0:
        try:
            gate.enter("192.0.2.1", now)()
        except RefusedError:
            now += 0.01
            continue
        looked_at += 1
        gate.failed("192.0.2.1", now)
    assert looked_at <= 50


def test_a_quiet_source_starts_afresh() -> None:
    gate = Gate()
    for _ in range(FREE_FAILURES + 3):
        gate.failed("192.0.2.1", 0.0)
    gate.failed("192.0.2.1", FORGET_S + 1)
    gate.enter("192.0.2.1", FORGET_S + 1)


def test_what_is_remembered_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate_module, "SOURCES_MAX", 10)
    gate = Gate()
    for number in range(100):
        gate.failed(f"192.0.2.{number}", 0.0)
    assert len(gate._sources) == 10
    assert SOURCES_MAX > 10


def test_who_fails_again_and_again_is_not_forgotten_for_others_who_fail_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate_module, "SOURCES_MAX", 10)
    gate = Gate()
    for number in range(100):
        gate.failed("192.0.2.1", 0.0)
        gate.failed(f"198.51.100.{number}", 0.0)
    assert "100 logins from 192.0.2.1 failed" in turned_away(gate, "192.0.2.1", 299.0)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=200))
def test_places_are_given_back_exactly(steps: list[tuple[str, bool]]) -> None:
    gate, inside = Gate(), []
    for host, enters in steps:
        if enters:
            inside.append(gate.enter(host, 0.0))
        elif inside:
            inside.pop()()
    assert gate.strangers == len(inside)
    for leave in inside:
        leave()
    assert gate.strangers == 0
    assert not gate._strangers
