"""The status byte: a closed table, with a description of each entry."""

import pytest

from portway.errors import PeerError
from portway.protocol.stream_status import StreamStatus


def test_the_table_is_the_one_of_the_wire_document() -> None:
    assert [(status.name, status.value) for status in StreamStatus] == [
        ("CONNECTED", 0),
        ("REFUSED", 1),
        ("TIMED_OUT", 2),
        ("UNRESOLVABLE", 3),
        ("FORBIDDEN", 4),
        ("UNKNOWN_TUNNEL", 5),
        ("OVERLOADED", 6),
    ]


@pytest.mark.parametrize("byte", range(256))
def test_a_byte_is_a_status_or_the_peers_fault(byte: int) -> None:
    if byte < len(StreamStatus):
        assert StreamStatus.of(byte) == byte
    else:
        with pytest.raises(PeerError, match=f"unknown stream status {byte}: expected 0 to 6"):
            StreamStatus.of(byte)


def test_every_status_has_words_of_its_own() -> None:
    assert len({status.description for status in StreamStatus}) == len(StreamStatus)
