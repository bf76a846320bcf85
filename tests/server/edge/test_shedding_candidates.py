"""A look at all connections: who could give way, whose turn it is, and how fast somebody moved lately."""

from hypothesis import given
from hypothesis import strategies as st

from portway.server.edge.connection_state import PACE_S, ConnectionState
from portway.server.edge.shedding_candidates import Candidates, TransferRate
from portway.server.tunnels.lease import Holder


class Somebody:
    """A connection that is only ever pointed at."""

    holder: Holder | None = None

    def __init__(self, address: str) -> None:
        self.address = address

    def standing(self) -> tuple[ConnectionState, float, int]:
        raise AssertionError

    def give_way(self, standing: ConnectionState) -> None:
        raise AssertionError


def test_a_rate_is_known_after_a_while_and_forgets_what_was_long_ago() -> None:
    pace = TransferRate(0.0, 1_000_000, 0.0)
    assert pace.rate(1_000_000, PACE_S - 1) is None
    assert pace.rate(1_000_000 + 100 * int(PACE_S), PACE_S) == 100.0
    rates = [pace.rate(1_000_000 + 100 * int(PACE_S), float(second)) for second in range(int(PACE_S) + 1, int(4 * PACE_S))]
    assert rates[-1] == 0.0


def test_another_request_on_the_same_connection_has_a_pace_of_its_own() -> None:
    pace = TransferRate(0.0, 0, 0.0)
    assert TransferRate.of(pace, 0.0, 10, 1.0) is pace
    assert TransferRate.of(pace, 0.5, 10, 1.0) is not pace
    assert TransferRate.of(None, 0.5, 10, 1.0).rate(10, 1.0) is None


@given(st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 9), min_size=1))
def test_those_with_most_are_levelled_and_nobody_is_taken_twice(sources: dict[str, int]) -> None:
    candidates = Candidates()
    for source, count in sources.items():
        for number in range(count):
            candidates.add(source, ConnectionState.IDLE, float(number), Somebody(source))
    candidates.seal()
    left, taken = dict(sources), set()
    while (found := candidates.take("newcomer", 0, 1, own=True)) is not None:
        member = found[1]
        assert left[member.address] == max(left.values())
        left[member.address] -= 1
        taken.add(member)
        assert candidates.left == sum(left.values())
    assert len(taken) == sum(sources.values())


def test_of_one_source_who_does_least_comes_first() -> None:
    candidates = Candidates()
    entries = [
        (ConnectionState.SLOW, 0.0, 7.0),
        (ConnectionState.IDLE, 5.0, 0.0),
        (ConnectionState.IDLE, 3.0, 0.0),
        (ConnectionState.SLOW, 9.0, 2.0),
    ]
    people = [Somebody("a") for _ in entries]
    for somebody, (standing, since, rate) in zip(people, entries, strict=True):
        candidates.add("a", standing, since, somebody, rate)
    candidates.seal()
    order = [candidates.take("b", 0, 1, own=False) for _ in entries]
    assert [found and found[1] for found in order] == [people[2], people[1], people[3], people[0]]


def test_a_lead_that_is_too_small_takes_nobody_but_one_s_own() -> None:
    candidates = Candidates()
    for source in "aaab":
        candidates.add(source, ConnectionState.QUIET, 0.0, Somebody(source))
    candidates.seal()
    assert candidates.take("c", 0, 4, own=True) is None
    found = candidates.take("b", 1, 4, own=True)
    assert found is not None
    assert found[1].address == "b"
    assert candidates.take("b", 0, 4, own=False) is None
