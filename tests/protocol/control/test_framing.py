"""Length-prefixed framing: any cut, and no length that is used before it is checked."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portway.errors import MisuseError, PeerError
from portway.protocol.control.framing import POST_LOGIN_BYTES_MAX, PRE_LOGIN_BYTES_MAX, MessageReader, encode

bodies = st.lists(st.binary(min_size=1, max_size=300), max_size=8)


@given(sent=bodies, data=st.data())
def test_messages_survive_any_cut(sent: list[bytes], data: st.DataObject) -> None:
    wire = b"".join(encode(body) for body in sent)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(wire)), max_size=20)))
    reader, received = MessageReader(), []
    for start, end in zip([0, *cuts], [*cuts, len(wire)], strict=True):
        received += reader.feed(memoryview(wire)[start:end])
    assert received == sent
    assert reader.buffered_bytes == 0


def test_messages_survive_a_byte_at_a_time() -> None:
    sent = [b"a", b"bc" * 200, b"\0"]
    reader = MessageReader()
    wire = b"".join(encode(body) for body in sent)
    assert [body for byte in wire for body in reader.feed(bytes([byte]))] == sent


@given(noise=st.binary(max_size=400))
def test_noise_is_messages_or_the_peers_fault_and_never_held_beyond_the_bound(noise: bytes) -> None:
    reader = MessageReader(bytes_max=64)
    try:
        received = reader.feed(noise)
    except PeerError:
        return
    assert b"".join(encode(body) for body in received) == noise[: len(noise) - reader.buffered_bytes]
    assert reader.buffered_bytes < 4 + 64


@pytest.mark.parametrize("length", [0, PRE_LOGIN_BYTES_MAX + 1, 2**31 - 1, 2**31, 2**32 - 1])
def test_a_length_out_of_bounds_is_refused_before_its_body_arrives(length: int) -> None:
    with pytest.raises(PeerError, match=str(length)):
        MessageReader().feed(length.to_bytes(4, "big"))


@pytest.mark.parametrize("bytes_max", [PRE_LOGIN_BYTES_MAX, POST_LOGIN_BYTES_MAX])
def test_the_bound_itself_is_allowed(bytes_max: int) -> None:
    assert MessageReader(bytes_max).feed(encode(b"x" * bytes_max)) == [b"x" * bytes_max]


def test_the_bound_can_be_raised_after_login() -> None:
    reader = MessageReader()
    assert reader.feed(encode(b"hello")) == [b"hello"]
    reader.bytes_max = POST_LOGIN_BYTES_MAX
    assert reader.feed(encode(b"x" * 60_000)) == [b"x" * 60_000]


@pytest.mark.parametrize("size", [0, POST_LOGIN_BYTES_MAX + 1])
def test_messages_that_no_peer_accepts_are_never_sent(size: int) -> None:
    with pytest.raises(MisuseError):
        encode(bytes(size))
