"""Number of links per session: tables of traffic over time, and the decisions made."""

from dataclasses import dataclass, field

import pytest

from portway.agent.link_policy import (
    BUSY_BYTES,
    BUSY_STREAMS,
    CLOSE_AFTER_S,
    DRAIN_APART_S,
    OPEN_AFTER_S,
    PRESSING_STREAMS,
    REPLACE_APART_S,
    RETRY_S,
    RETRY_S_MAX,
    SAMPLE_S,
    DrainLink,
    LinkLoad,
    LinkPolicy,
    OpenLink,
)

BULK, QUIET = BUSY_BYTES * 2, 0
Decision = OpenLink | DrainLink | None


@dataclass
class Life:
    """Links under a policy, 100 ms at a time."""

    policy: LinkPolicy = field(default_factory=lambda: LinkPolicy(4))
    now: float = 1000.0
    moved: dict[int, int] = field(default_factory=dict)

    def step(
        self,
        rates: list[int],
        streams: list[int] | None = None,
        *,
        draining: int = 0,
        opening: bool = False,
        numbers: list[int] | None = None,
    ) -> Decision:
        """Pass 100 ms in which each link carries so many bytes."""
        self.now += SAMPLE_S
        numbers = numbers or list(range(1, len(rates) + 1))
        for number, rate in zip(numbers, rates, strict=True):
            self.moved[number] = self.moved.get(number, 0) + rate
        counts = streams or [0] * len(rates)
        loads = [LinkLoad(number, self.moved[number], count) for number, count in zip(numbers, counts, strict=True)]
        return self.policy.decide(self.now, loads, draining, opening=opening)

    def over(self, seconds: float, rates: list[int], streams: list[int] | None = None, **more: int) -> list[Decision]:
        """Return what is decided in so many seconds of the same traffic."""
        decided = [self.step(rates, streams, draining=more.get("draining", 0)) for _ in range(round(seconds / SAMPLE_S))]
        return [decision for decision in decided if decision is not None]


NEEDED = [
    ("one link with bulk", [BULK], [1], True),
    ("one quiet link", [QUIET], [1], False),
    ("small requests only", [BUSY_BYTES // 2], [64], False),
    ("many silent visitors", [QUIET], [BUSY_STREAMS], True),
    ("a spare beside the bulk", [BULK, QUIET], [8, 0], False),
    ("all of three are busy", [BULK, BULK, BULK], [1, 1, 1], True),
    ("one by bytes, one by visitors", [BULK, QUIET], [1, BUSY_STREAMS], True),
    ("four are the most", [BULK] * 4, [PRESSING_STREAMS] * 4, False),
]


@pytest.mark.parametrize(("rates", "streams", "needed"), [row[1:] for row in NEEDED], ids=[row[0] for row in NEEDED])
def test_a_link_is_opened_when_all_stay_busy(rates: list[int], streams: list[int], needed: bool) -> None:
    decided = Life().over(2 * OPEN_AFTER_S, rates, streams)
    assert decided[:1] == ([OpenLink()] if needed else [])


def test_a_short_burst_opens_no_link() -> None:
    life = Life()
    for _ in range(20):
        assert life.over(OPEN_AFTER_S, [BULK]) == []
        assert life.step([QUIET]) is None


def test_many_visitors_open_a_link_at_once() -> None:
    life = Life()
    assert life.step([QUIET], [PRESSING_STREAMS]) == OpenLink()
    assert life.step([QUIET], [PRESSING_STREAMS], opening=True) is None, "one at a time"


def test_no_link_is_opened_while_another_one_is_being_opened() -> None:
    life = Life()
    assert [life.step([BULK], opening=True) for _ in range(20)] == [None] * 20
    assert life.over(OPEN_AFTER_S, [BULK]) == [], "its effect is waited for, too"


@pytest.mark.parametrize(("draining", "decision"), [(0, OpenLink()), (2, OpenLink()), (3, None)])
def test_draining_links_do_not_count_against_the_others_and_are_bounded(draining: int, decision: Decision) -> None:
    assert LinkPolicy(2).decide(0.0, [LinkLoad(1, 0, PRESSING_STREAMS)], draining) == decision


def test_a_link_that_drains_for_ever_does_not_keep_others_from_closing() -> None:
    life = Life()
    assert life.over(CLOSE_AFTER_S + 1, [QUIET] * 3)[:1] == [DrainLink(3)]
    assert life.over(DRAIN_APART_S, [QUIET] * 2, draining=1) == [DrainLink(2)]
    assert life.over(5, [QUIET] * 2, draining=4) == [], "four of them are enough"


def test_without_a_link_that_accepts_visitors_one_is_opened_at_once() -> None:
    assert LinkPolicy(4).decide(0.0, [], 1) == OpenLink()


def expiring(numbers: list[int], *fresh: int) -> list[LinkLoad]:
    return [LinkLoad(number, 0, 5, expiring=number not in fresh) for number in sorted([*numbers, *fresh])]


@pytest.mark.parametrize("links_max", [1, 4])
def test_a_link_that_expires_drains_once_another_one_is_open(links_max: int) -> None:
    policy = LinkPolicy(links_max, 4)
    assert policy.decide(1.0, expiring([1])) == OpenLink()
    assert policy.decide(1.1, expiring([1]), opening=True) is None, "it goes on serving meanwhile"
    policy.failed(1.15)
    assert policy.decide(1.2, expiring([1])) is None, "a dial that failed is not tried again at once"
    assert policy.decide(1.2 + RETRY_S, expiring([1])) == OpenLink()
    policy.opened()
    assert policy.decide(3.0, expiring([1], 2)) == DrainLink(1), "the lowest one, too"
    assert policy.decide(3.1, [LinkLoad(2, 0, 0)], 1) is None


@pytest.mark.parametrize("server_max", [1, 4])
def test_if_the_server_allows_no_further_link_one_that_expires_drains_first(server_max: int) -> None:
    policy = LinkPolicy(server_max, server_max)
    numbers = list(range(1, server_max + 1))
    assert policy.decide(1.0, expiring(numbers)) == DrainLink(1)
    assert policy.decide(1.0 + REPLACE_APART_S, expiring(numbers[1:]), 1) == OpenLink()


def test_links_that_expire_at_once_are_not_replaced_without_a_pause() -> None:
    policy = LinkPolicy(4, 4)
    decided = []
    number, links, opening = 1, [1], False
    for step in range(100):
        match policy.decide(step * SAMPLE_S, expiring(links), opening=opening):
            case OpenLink():
                number += 1
                links = [*links, number]
                decided.append(number)
            case DrainLink(old):
                links.remove(old)
    assert len(decided) < 100 * SAMPLE_S / REPLACE_APART_S + 5


def test_visitors_on_expired_links_do_not_keep_the_next_one_from_being_replaced() -> None:
    policy = LinkPolicy(1, 4)
    assert policy.decide(1.0, expiring([4]), 3) == OpenLink()
    assert policy.decide(2.0, expiring([4], 5), 3) == DrainLink(4)
    assert policy.decide(3.0, expiring([5], 6), 4) is None, "four that drain are as many as the server takes"


def test_a_single_link_is_never_closed() -> None:
    assert Life().over(10 * CLOSE_AFTER_S, [QUIET]) == []


def test_idle_links_drain_one_after_the_other_newest_first() -> None:
    life = Life()
    assert life.over(CLOSE_AFTER_S - 1, [QUIET] * 3) == []
    assert life.over(2, [QUIET] * 3)[:1] == [DrainLink(3)]
    assert life.over(DRAIN_APART_S / 2, [QUIET] * 2, draining=1) == [], "one at a time"
    assert life.over(DRAIN_APART_S, [QUIET] * 2)[:1] == [DrainLink(2)]
    assert life.over(3 * CLOSE_AFTER_S, [QUIET]) == []


KEPT = [
    ("the other one is busy", [BULK, QUIET], [1, 0]),
    ("the other one is busy enough to be busy with both", [BUSY_BYTES * 2 // 3, QUIET], [1, 0]),
    ("the other one has many visitors", [QUIET, QUIET], [BUSY_STREAMS - 1, 0]),
    ("it carries something", [QUIET, BUSY_BYTES // 8], [0, 1]),
    ("the first one is idle, but carries the control messages", [QUIET, BULK], [0, 1]),
]


@pytest.mark.parametrize(("rates", "streams"), [row[1:] for row in KEPT], ids=[row[0] for row in KEPT])
def test_a_link_in_use_is_not_drained(rates: list[int], streams: list[int]) -> None:
    assert Life().over(3 * CLOSE_AFTER_S, rates, streams) == []


def test_opening_and_closing_do_not_follow_each_other_closely() -> None:
    """Traffic around the mark: bulk for a second, silence for five, again and again."""
    life, links, changes = Life(), 1, 0
    for _ in range(60):
        for rate in [BULK] * 10 + [QUIET] * 50:
            match life.step([rate] * links):
                case OpenLink():
                    links, changes = links + 1, changes + 1
                case DrainLink():
                    links, changes = links - 1, changes + 1
    assert links == 4
    assert changes == 3, "it grows and stays"


def test_a_link_with_idle_visitors_may_drain() -> None:
    assert Life().over(CLOSE_AFTER_S + 1, [QUIET, QUIET], [3, 5])[:1] == [DrainLink(2)]


def test_retries_slow_down_until_a_success() -> None:
    life = Life()
    waits = []
    for _ in range(9):
        life.policy.failed(life.now)
        began = life.now
        while life.step([BULK]) is None:
            pass
        waits.append(life.now - began)
    assert waits[0] == pytest.approx(RETRY_S, abs=0.6)
    assert waits[3] == pytest.approx(8 * RETRY_S, abs=0.6)
    assert waits[-1] == pytest.approx(RETRY_S_MAX, abs=0.6)
    life.policy.opened()
    life.policy.failed(life.now)
    began = life.now
    while life.step([BULK]) is None:
        pass
    assert life.now - began == pytest.approx(RETRY_S, abs=0.6)


def test_an_early_or_late_check_measures_the_real_interval() -> None:
    policy = LinkPolicy(4)
    assert policy.decide(0.0, [LinkLoad(1, 0, 0)]) is None
    for step in range(1, 10):  # a late timer: ten times the bytes in ten times the time
        assert policy.decide(step * 1.0, [LinkLoad(1, step * BUSY_BYTES * 5, 0)]) is None
    assert policy.decide(9.01, [LinkLoad(1, 1 << 40, PRESSING_STREAMS)]) is None, "too little time to judge"


def test_a_new_link_starts_without_earlier_bytes() -> None:
    life = Life()
    life.moved[2] = 1 << 40
    assert life.over(5, [BULK, QUIET]) == []
