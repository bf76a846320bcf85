"""Memory budgets: exact sums in a tree, and eviction from the largest holder."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portway.engine.memory_budget import MemoryBudget


class Store:
    """A holder that frees everything when it is evicted from."""

    def __init__(self, budget: MemoryBudget) -> None:
        self.budget = budget
        self.bytes = 0
        self.gave_up = 0

    def set(self, count: int) -> None:
        change, self.bytes = count - self.bytes, count
        self.budget.count(self, change)

    def evict(self) -> None:
        self.gave_up += 1
        self.set(0)


def test_the_largest_holder_pays_and_the_others_stay() -> None:
    budget = MemoryBudget(100)
    small, large = Store(budget), Store(budget)
    large.set(70)
    small.set(30)
    assert (small.gave_up, large.gave_up) == (0, 0)
    small.set(31)
    assert (small.gave_up, large.gave_up) == (0, 1)
    assert budget.bytes == 31


def test_of_all_parts_the_largest_pays_with_its_largest_holder() -> None:
    total = MemoryBudget(100)
    greedy, modest = MemoryBudget(90, total), MemoryBudget(90, total)
    many, one = [Store(greedy) for _ in range(6)], Store(modest)
    for number, store in enumerate(many):
        store.set(10 + number)
    one.set(26)
    assert one.gave_up == 0, "it has more than any other holder, but its tenant has less"
    assert [store.gave_up for store in many] == [0, 0, 0, 0, 0, 1]
    assert (greedy.bytes, modest.bytes, total.bytes) == (60, 26, 86)


def test_a_holder_without_bytes_is_not_referenced() -> None:
    total = MemoryBudget(100)
    part = MemoryBudget(100, total)
    store = Store(part)
    store.set(10)
    store.set(0)
    assert not part._holders
    assert not total._holders


@pytest.mark.parametrize("order", ["parts first", "total first"])
@given(steps=st.lists(st.tuples(st.integers(0, 7), st.integers(0, 80)), max_size=120))
def test_no_budget_is_ever_exceeded_and_sums_are_exact(order: str, steps: list[tuple[int, int]]) -> None:
    total = MemoryBudget(200 if order == "parts first" else 90)
    parts = [MemoryBudget(100, total) for _ in range(2)]
    inner = MemoryBudget(50, parts[0])
    budgets = [inner, inner, parts[0], parts[0], parts[1], parts[1], total, total]
    stores = [Store(budget) for budget in budgets]
    for number, count in steps:
        stores[number].set(count)
        held = [store.bytes for store in stores]
        assert inner.bytes == sum(held[:2]) <= 50
        assert parts[0].bytes == sum(held[:4]) <= 100
        assert parts[1].bytes == sum(held[4:6]) <= 100
        assert total.bytes == sum(held) <= total.bytes_max
