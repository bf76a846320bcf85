"""The chunked coding."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portway.protocol.http1.chunked import (
    EXTENSION_BYTES_MAX,
    LAST_CHUNK,
    OVERHEAD_BYTES_FREE,
    TRAILERS_BYTES_MAX,
    ChunkDecoder,
    encode_chunk,
)
from portway.protocol.http1.errors import MessageError


def decoded(wire: bytes, cuts: list[int] | None = None) -> tuple[bytes, bytes, bool]:
    """Return payload, what follows the end, and whether the end came."""
    decoder, payload, rest, at = ChunkDecoder(), bytearray(), b"", 0
    for cut in [*sorted(cuts or []), len(wire)]:
        if cut > at:
            parts, rest = decoder.feed(wire[at:cut])
            for part in parts:
                payload += part
            at = cut
            if decoder.done:
                break
    return bytes(payload), rest + wire[at:], decoder.done


SIZES = st.sampled_from([b"%x", b"%X", b"%04x", b"%x;ext=1", b'%x;a="b c"'])


@given(
    chunks=st.lists(st.tuples(st.binary(min_size=1, max_size=40), SIZES), max_size=8),
    trailers=st.lists(st.sampled_from([b"A: b\r\n", b"X-Y:\r\n"]), max_size=3),
    follows=st.binary(max_size=10),
    cuts=st.lists(st.integers(0, 300), max_size=10),
)
def test_a_body_is_read_the_same_wherever_it_was_cut(
    chunks: list[tuple[bytes, bytes]], trailers: list[bytes], follows: bytes, cuts: list[int]
) -> None:
    wire = b"".join(size % len(data) + b"\r\n" + data + b"\r\n" for data, size in chunks) + b"0\r\n" + b"".join(trailers) + b"\r\n"
    expected = (b"".join(data for data, _ in chunks), follows, True)
    assert decoded(wire + follows, [cut for cut in cuts if cut <= len(wire + follows)]) == expected


@given(st.lists(st.binary(max_size=50), max_size=8))
def test_what_was_encoded_is_decoded(parts: list[bytes]) -> None:
    wire = encode_chunk(parts) + encode_chunk([]) + LAST_CHUNK
    assert decoded(wire) == (b"".join(parts), b"", True)
    assert decoded(wire, list(range(len(wire)))) == (b"".join(parts), b"", True)


BROKEN = [
    *(b"\r\n", b"g\r\n", b"0x1\r\n", b"+1\r\n", b"-1\r\n", b" 1\r\n", b"1 \r\n", b"1\t\r\n", b"1_0\r\n", b"1\n", b"1\rX", b"1\r\r\n"),
    *(
        b"00000000000000001\r\n",
        b"10000000000000000\r\n",
        b"\xb2\r\n",
        b"1,a\r\n",
        b"1 ;a\r\n",
        b"1;a\nb\r\n",
        b"1;\x00\r\n",
        b"1;a\rb\r\n",
    ),
    *(b"1\r\nab\r\n", b"1\r\na\n", b"1\r\naXY", b"1\r\naXY0\r\n\r\n", b"2\r\na\r\n0\r\n", b"1\r\na0\r\n\r\n"),
    *(
        b"0\r\n\n",
        b"0\r\n\rX",
        b"0\r\nA\r\n\r\n",
        b"0\r\nA : b\r\n\r\n",
        b"0\r\n A: b\r\n\r\n",
        b"0\r\nA: b\n\r\n",
        b"0\r\nA: \x00\r\n\r\n",
        b"0\r\n: b\r\n\r\n",
    ),
]


@pytest.mark.parametrize("wire", BROKEN)
def test_anything_but_the_grammar_is_refused_wherever_it_was_cut(wire: bytes) -> None:
    with pytest.raises(MessageError):
        decoded(wire + b"XX")
    with pytest.raises(MessageError):
        decoded(wire + b"XX", list(range(len(wire) + 2)))


def test_a_size_line_is_bounded() -> None:
    extension = b"a" * EXTENSION_BYTES_MAX
    assert decoded(b"1;" + extension + b"\r\nx\r\n0\r\n\r\n") == (b"x", b"", True)
    with pytest.raises(MessageError):
        ChunkDecoder().feed(b"1;" + b"a" * (EXTENSION_BYTES_MAX + 1))


def test_trailers_are_bounded() -> None:
    with pytest.raises(MessageError):
        ChunkDecoder().feed(b"0\r\nA: " + b"b" * TRAILERS_BYTES_MAX)
    with pytest.raises(MessageError):
        ChunkDecoder().feed(b"0\r\n" + b"A: b\r\n" * (TRAILERS_BYTES_MAX // 6 + 1))


def test_framing_without_payload_is_bounded() -> None:
    decoder = ChunkDecoder()
    one = b"1;" + b"e" * 200 + b"\r\nx\r\n"
    with pytest.raises(MessageError, match="framing"):
        for _ in range(OVERHEAD_BYTES_FREE // 100):
            decoder.feed(one)


def test_chunks_of_one_byte_may_go_on_for_ever() -> None:
    decoder = ChunkDecoder()
    flood = b"1\r\nx\r\n" * 10_000
    for _ in range(20):
        payload, _ = decoder.feed(flood)
        assert len(payload) == 10_000


def test_a_huge_size_is_only_a_number() -> None:
    decoder = ChunkDecoder()
    payload, _ = decoder.feed(b"FFFFFFFFFFFFFFFF\r\nabc")
    assert b"".join(payload) == b"abc"
    assert not decoder.done


@given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=5))
def test_noise_is_refused_or_read_but_raises_nothing_else(noise: bytes, cuts: list[int]) -> None:
    try:
        whole = decoded(noise)
    except MessageError:
        with pytest.raises(MessageError):
            decoded(noise, [cut for cut in cuts if cut <= len(noise)])
    else:
        assert decoded(noise, [cut for cut in cuts if cut <= len(noise)]) == whole
