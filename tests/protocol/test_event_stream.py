"""Server-sent events, one by one."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from portway.protocol.event_stream import EVENT_BYTES_MAX, EventStreamParser

STREAM = b": comment\n\nevent: a\nid: 7\ndata: one\ndata: two\n\ndata:three\r\n\r\ndata: \xc3\xa4\n\n"


@given(st.lists(st.integers(0, len(STREAM)), max_size=10))
def test_events_are_the_same_for_any_cut(cuts: list[int]) -> None:
    places = [0, *sorted(cuts), len(STREAM)]
    parser = EventStreamParser()
    found = [event for a, b in pairwise(places) for event in parser.feed(STREAM[a:b])]

    assert [(event.event, event.id, event.data) for event in found] == [("a", "7", b"one\ntwo"), ("", "", b"three"), ("", "", "ä".encode())]


def test_an_event_without_end_is_bounded() -> None:
    parser = EventStreamParser()
    for _ in range(10):
        assert parser.feed(b"data: " + b"x" * EVENT_BYTES_MAX) == []
    (event,) = parser.feed(b"\n\n")

    assert len(event.data) <= EVENT_BYTES_MAX
    assert event.size > 10 * EVENT_BYTES_MAX
