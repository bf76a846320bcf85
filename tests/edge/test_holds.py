"""Waiting for an offline agent: unrestricted below the limit, then fair among tenants and sources."""

import itertools
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from portway.edge.holds import Hold, Holds


class Waiters:
    """Holds, and what became of each."""

    def __init__(self, most: int) -> None:
        self.holds = Holds(most)
        self.waiting: dict[str, Hold] = {}
        self.evicted: list[str] = []
        self._numbers = itertools.count()

    def hold(self, tenant: str, source: str = "s") -> bool:
        name = f"{tenant} {source} {next(self._numbers)}"

        def evict() -> None:
            self.evicted.append(name)
            self.waiting.pop(name).release()

        hold = self.holds.acquire(tenant, source, evict)
        if hold is not None:
            self.waiting[name] = hold
        return hold is not None

    def count(self, place: int) -> Counter[str]:
        return Counter(name.split()[place] for name in self.waiting)


def test_one_tenant_may_have_every_hold_without_competition() -> None:
    waiters = Waiters(100)
    assert all(waiters.hold("a", f"s{number}") for number in range(100))
    assert not waiters.hold("a", "s0")
    assert waiters.evicted == []


def test_the_tenant_with_the_most_loses_its_oldest_hold() -> None:
    waiters = Waiters(10)
    for _ in range(10):
        assert waiters.hold("a")
    assert waiters.hold("b")
    assert waiters.evicted == ["a s 0"]
    for _ in range(4):
        assert waiters.hold("b")
    assert waiters.count(0) == {"a": 5, "b": 5}
    assert not waiters.hold("b"), "that would only turn the tables"
    assert not waiters.hold("a")
    assert waiters.hold("c")
    assert len(waiters.holds) == 10


def test_within_a_tenant_the_source_with_the_most_loses_a_hold() -> None:
    waiters = Waiters(10)
    for _ in range(9):
        assert waiters.hold("a", "flood")
    assert waiters.hold("a", "calm")
    assert waiters.hold("a", "new"), "a visitor of the same name from elsewhere"
    assert waiters.count(1) == {"flood": 8, "calm": 1, "new": 1}
    assert not waiters.hold("a", "flood")


def test_the_evicted_tenant_loses_a_hold_of_its_largest_source() -> None:
    waiters = Waiters(6)
    for source in ("calm", "flood", "flood", "flood", "flood", "flood"):
        assert waiters.hold("a", source)
    assert waiters.hold("b")
    assert waiters.evicted == ["a flood 1"]


def test_without_any_holds_no_visitor_waits() -> None:
    assert not Waiters(0).hold("a")


@given(
    st.integers(1, 6),
    st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from(["s", "t", "u"]), st.booleans()), max_size=60),
)
def test_the_count_matches_the_holds_and_a_refused_tenant_has_its_part(most: int, steps: list[tuple[str, str, bool]]) -> None:
    waiters = Waiters(most)
    for tenant, source, leave in steps:
        if leave and waiters.waiting:
            waiters.waiting.pop(next(iter(waiters.waiting))).release()
        elif not waiters.hold(tenant, source):
            counts = waiters.count(0)
            assert len(waiters.holds) == most
            assert max(counts.values()) <= counts[tenant] + 1
        assert len(waiters.holds) == len(waiters.waiting) <= most


def test_releasing_twice_counts_once() -> None:
    waiters = Waiters(2)
    waiters.hold("a")
    hold = next(iter(waiters.waiting.values()))
    hold.release()
    hold.release()
    assert len(waiters.holds) == 0
