"""Who may wait for an agent that is away: anybody while there is room, then those who are few."""

import itertools
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from portway.server.edge.holds import Hold, Holds


class Hall:
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


def test_one_tenant_may_have_every_hold_while_nobody_else_wants_one() -> None:
    hall = Hall(100)
    assert all(hall.hold("a", f"s{number}") for number in range(100))
    assert not hall.hold("a", "s0")
    assert hall.evicted == []


def test_the_tenant_with_the_most_gives_way_and_its_oldest_first() -> None:
    hall = Hall(10)
    for _ in range(10):
        assert hall.hold("a")
    assert hall.hold("b")
    assert hall.evicted == ["a s 0"]
    for _ in range(4):
        assert hall.hold("b")
    assert hall.count(0) == {"a": 5, "b": 5}
    assert not hall.hold("b"), "that would only turn the tables"
    assert not hall.hold("a")
    assert hall.hold("c")
    assert len(hall.holds) == 10


def test_within_a_tenant_the_source_with_the_most_gives_way() -> None:
    hall = Hall(10)
    for _ in range(9):
        assert hall.hold("a", "flood")
    assert hall.hold("a", "calm")
    assert hall.hold("a", "new"), "a visitor of the same name from elsewhere"
    assert hall.count(1) == {"flood": 8, "calm": 1, "new": 1}
    assert not hall.hold("a", "flood")


def test_of_a_tenant_that_gives_way_it_is_the_source_with_the_most() -> None:
    hall = Hall(6)
    for source in ("calm", "flood", "flood", "flood", "flood", "flood"):
        assert hall.hold("a", source)
    assert hall.hold("b")
    assert hall.evicted == ["a flood 1"]


def test_without_any_holds_nobody_waits() -> None:
    assert not Hall(0).hold("a")


@given(
    st.integers(1, 6),
    st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from(["s", "t", "u"]), st.booleans()), max_size=60),
)
def test_the_count_is_what_is_held_and_a_refused_tenant_has_its_part(most: int, steps: list[tuple[str, str, bool]]) -> None:
    hall = Hall(most)
    for tenant, source, leave in steps:
        if leave and hall.waiting:
            hall.waiting.pop(next(iter(hall.waiting))).release()
        elif not hall.hold(tenant, source):
            counts = hall.count(0)
            assert len(hall.holds) == most
            assert max(counts.values()) <= counts[tenant] + 1
        assert len(hall.holds) == len(hall.waiting) <= most


def test_leaving_twice_counts_once() -> None:
    hall = Hall(2)
    hall.hold("a")
    hold = next(iter(hall.waiting.values()))
    hold.release()
    hold.release()
    assert len(hall.holds) == 0
