"""A scan of all connections: candidates, their order, and recent rates."""

from hypothesis import given
from hypothesis import strategies as st

from portway.edge.connection_state import RATE_WINDOW_S, ConnectionState
from portway.edge.lease import Holder
from portway.edge.shedding_candidates import Candidates, TransferRate


class Inert:
    """A connection without behaviour."""

    holder: Holder | None = None

    def __init__(self, address: str) -> None:
        self.address = address

    def state(self) -> tuple[ConnectionState, float, int]:
        raise AssertionError

    def shed(self, state: ConnectionState) -> None:
        raise AssertionError


def test_a_rate_needs_a_full_window_and_ignores_what_was_before() -> None:
    rate = TransferRate(0.0, 1_000_000, 0.0)
    assert rate.recent(1_000_000, RATE_WINDOW_S - 1) is None
    assert rate.recent(1_000_000 + 100 * int(RATE_WINDOW_S), RATE_WINDOW_S) == 100.0
    rates = [
        rate.recent(1_000_000 + 100 * int(RATE_WINDOW_S), float(second)) for second in range(int(RATE_WINDOW_S) + 1, int(4 * RATE_WINDOW_S))
    ]
    assert rates[-1] == 0.0


def test_another_request_on_the_same_connection_has_a_rate_of_its_own() -> None:
    rate = TransferRate(0.0, 0, 0.0)
    assert TransferRate.of(rate, 0.0, 10, 1.0) is rate
    assert TransferRate.of(rate, 0.5, 10, 1.0) is not rate
    assert TransferRate.of(None, 0.5, 10, 1.0).recent(10, 1.0) is None


@given(st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 9), min_size=1))
def test_the_largest_sources_are_levelled_and_no_connection_is_taken_twice(sources: dict[str, int]) -> None:
    candidates = Candidates()
    for source, count in sources.items():
        for number in range(count):
            candidates.add(source, ConnectionState.IDLE, float(number), Inert(source))
    candidates.sort()
    left, taken = dict(sources), set()
    while (found := candidates.take("newcomer", 0, 1, own=True)) is not None:
        connection = found[1]
        assert left[connection.address] == max(left.values())
        left[connection.address] -= 1
        taken.add(connection)
        assert candidates.remaining == sum(left.values())
    assert len(taken) == sum(sources.values())


def test_within_a_source_the_least_active_comes_first() -> None:
    candidates = Candidates()
    entries = [
        (ConnectionState.SLOW, 0.0, 7.0),
        (ConnectionState.IDLE, 5.0, 0.0),
        (ConnectionState.IDLE, 3.0, 0.0),
        (ConnectionState.SLOW, 9.0, 2.0),
    ]
    connections = [Inert("a") for _ in entries]
    for one, (state, since, rate) in zip(connections, entries, strict=True):
        candidates.add("a", state, since, one, rate)
    candidates.sort()
    order = [candidates.take("b", 0, 1, own=False) for _ in entries]
    assert [found and found[1] for found in order] == [connections[2], connections[1], connections[3], connections[0]]


def test_with_too_small_a_margin_only_the_own_source_loses_one() -> None:
    candidates = Candidates()
    for source in "aaab":
        candidates.add(source, ConnectionState.QUIET, 0.0, Inert(source))
    candidates.sort()
    assert candidates.take("c", 0, 4, own=True) is None
    found = candidates.take("b", 1, 4, own=True)
    assert found is not None
    assert found[1].address == "b"
    assert candidates.take("b", 0, 4, own=False) is None
