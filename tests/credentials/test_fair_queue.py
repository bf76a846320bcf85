"""A queue that tenants and sources share."""

from hypothesis import given
from hypothesis import strategies as st

from portway.credentials.fair_queue import FairQueue


def drain(queue: FairQueue[str]) -> list[str]:
    items = []
    while (item := queue.pop()) is not None:
        items.append(item)
    return items


def fill(queue: FairQueue[str], *items: str) -> None:
    """Add items named after tenant, source and number."""
    for item in items:
        queue.push(item[0], item[1], item)


def test_tenants_take_turns_and_sources_within_a_tenant() -> None:
    queue: FairQueue[str] = FairQueue(100)
    fill(queue, "Aa1", "Aa2", "Aa3", "Ab1", "Ba1", "Ab2", "Ba2")
    assert drain(queue) == ["Aa1", "Ba1", "Ab1", "Ba2", "Aa2", "Ab2", "Aa3"]
    assert len(queue) == 0


def test_a_full_queue_displaces_the_newest_item_of_the_largest_tenant() -> None:
    queue: FairQueue[str] = FairQueue(4)
    fill(queue, "Aa1", "Ab1", "Ab2", "Ac1")
    assert queue.push("A", "a", "Aa2") == "Aa2", "every source of this tenant would have as many"
    assert queue.push("A", "d", "Ad1") == "Ab2"
    assert queue.push("B", "a", "Ba1") in ("Aa1", "Ab1", "Ac1", "Ad1")
    assert queue.push("B", "b", "Bb1") in ("Aa1", "Ab1", "Ac1", "Ad1")
    assert queue.push("B", "b", "Bb2") == "Bb2", "both tenants have two"
    assert len(queue) == 4


@given(st.lists(st.tuples(st.sampled_from("AB"), st.sampled_from("abc"), st.booleans()), max_size=200))
def test_no_item_is_lost_or_returned_twice(steps: list[tuple[str, str, bool]]) -> None:
    queue: FairQueue[int] = FairQueue(8)
    inside: set[int] = set()
    for number, (tenant, source, pushes) in enumerate(steps):
        if pushes:
            inside.add(number)
            displaced = queue.push(tenant, source, number)
            if displaced is not None:
                inside.remove(displaced)
        elif (item := queue.pop()) is not None:
            inside.remove(item)
        else:
            assert not inside
        assert len(queue) == len(inside) <= 8
