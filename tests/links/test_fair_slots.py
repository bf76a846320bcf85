"""Slots shared by source: no source is excluded by one with more slots."""

import random
from collections import Counter
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portway.errors import UnavailableError
from portway.links.fair_slots import KNOWN_SLOTS, SLOW_S, FairSlots
from portway.links.sources import Sources


class Crowd:
    """Slots and their holders, numbered in order of arrival."""

    def __init__(self, slots_max: int, *known: str) -> None:
        self.sources = Sources()
        for source in known:
            self.sources.logged_in(source, 0.0)
        self.places: FairSlots[int] = FairSlots(slots_max, self.sources, random.Random(1).random)
        self.numbers = count(1)
        self.inside: dict[int, str] = {}

    def come(self, source: str, times: int = 1, now: float = 0.0) -> list[int]:
        """Let some arrive; return those that lost their slot."""
        lost = []
        for _ in range(times):
            number = next(self.numbers)
            loser = self.places.acquire(source, number, now)
            self.inside[number] = source
            if loser is not None:
                lost.append(loser)
                del self.inside[loser]
        return lost

    @property
    def held(self) -> Counter[str]:
        return Counter(self.inside.values())


def test_one_source_may_hold_everything_while_there_is_room() -> None:
    crowd = Crowd(8)
    assert crowd.come("office", 8) == []
    assert len(crowd.places) == 8


def test_the_oldest_slot_of_the_largest_source_is_lost_first() -> None:
    crowd = Crowd(8)
    crowd.come("few", 2)
    crowd.come("many", 6)
    assert crowd.come("honest", 3) == [3, 4, 5]
    assert crowd.held == {"few": 2, "many": 3, "honest": 3}


def test_five_sources_that_take_all_they_can_exclude_no_other() -> None:
    crowd = Crowd(512)
    for number in range(5 * 128):
        crowd.come(f"attacker {number % 5}")
        if len(crowd.places) == 512:
            break
    for number in range(300):
        assert crowd.come(f"honest {number}"), "whoever comes gets in"
    assert all(crowd.held[f"honest {number}"] for number in range(300))


def test_among_sources_that_hold_the_same_chance_decides() -> None:
    crowd = Crowd(100)
    for number in range(100):
        crowd.come(f"source {number}")
    lost = crowd.come("honest", 1)
    for number in range(30):
        lost += crowd.come(f"another {number}")
    assert sorted(lost) != list(range(1, 32)), "not always the oldest: it would be the one with the longest round trip"


def test_the_largest_source_waits_until_its_own_slots_are_slow() -> None:
    crowd = Crowd(4)
    crowd.come("office", 4, now=10.0)
    with pytest.raises(UnavailableError, match="all 4 slots are in use, 4 of them by office"):
        crowd.come("office", 1, now=10.0 + SLOW_S / 2)
    assert crowd.come("office", 1, now=10.0 + SLOW_S) == [1]
    assert crowd.come("other", 1, now=10.0 + SLOW_S) == [2], "others need not wait"


def test_a_source_with_an_earlier_login_is_preferred_within_bounds() -> None:
    crowd = Crowd(KNOWN_SLOTS + 20, "office")
    crowd.come("office", KNOWN_SLOTS)
    crowd.come("strange", 20)
    lost = crowd.come("honest", 10)
    assert crowd.held == {"office": KNOWN_SLOTS, "strange": 10, "honest": 10}
    assert lost == list(range(KNOWN_SLOTS + 1, KNOWN_SLOTS + 11))

    hostile = Crowd(KNOWN_SLOTS * 4, "member")
    hostile.come("member", KNOWN_SLOTS * 4)
    hostile.come("honest", 10)
    assert hostile.held["honest"] == 10, "a login is no right to everything"


def test_slots_are_released_once() -> None:
    crowd = Crowd(2)
    crowd.come("a", 2)
    for _ in range(2):
        crowd.places.release("a", 1)
    assert len(crowd.places) == 1
    crowd.places.release("a", 2)
    crowd.places.release("b", 2)
    assert len(crowd.places) == 0
    assert not crowd.places._shares, "nothing is remembered of who has gone"


@given(st.integers(1, 6), st.lists(st.tuples(st.sampled_from("abcd"), st.booleans(), st.floats(0, 5)), max_size=100))
def test_the_source_with_the_fewest_slots_is_always_admitted(slots_max: int, steps: list[tuple[str, bool, float]]) -> None:
    crowd, now = Crowd(slots_max, "d"), 0.0
    for source, leaves, passed_s in steps:
        now += passed_s
        if leaves and crowd.inside:
            number, where = crowd.inside.popitem()
            crowd.places.release(where, number)
            continue
        held = crowd.held
        own, most_of_others = held[source], max([held[other] for other in held if other != source], default=0)
        try:
            crowd.come(source, now=now)
        except UnavailableError:
            assert len(crowd.places) == slots_max
            assert own >= most_of_others or "d" in held, "only who holds most is refused"
        assert len(crowd.places) == len(crowd.inside) <= slots_max
