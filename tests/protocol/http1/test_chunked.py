"""The chunked coding."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portway.protocol.http1 import chunked
from portway.protocol.http1.chunked import (
    EXTENSION_BYTES_MAX,
    LAST_CHUNK,
    OVERHEAD_BYTES_FREE,
    TRAILERS_BYTES_MAX,
    TRAILERS_MAX,
    WORK_MAX,
    WORK_PER_CHUNK,
    WORK_PER_TINY_BYTE,
    ChunkDecoder,
    encode_chunk,
    encode_end,
)
from portway.protocol.http1.errors import MessageError
from tests.protocol.http1 import chunked_reference as reference


def decoded(wire: bytes, cuts: list[int] | None = None) -> tuple[bytes, bytes, bool]:
    """Return payload, what follows the end, and whether the end came."""
    decoder, payload, rest, at = ChunkDecoder(), bytearray(), b"", 0
    for cut in [*sorted(cuts or []), len(wire)]:
        if cut > at:
            rest = wire[at:cut]
            while rest and not decoder.done:
                parts, rest = decoder.feed(rest)
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
def test_encoding_and_decoding_round_trip(parts: list[bytes]) -> None:
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
    for wire in (
        b"A: " + b"b" * TRAILERS_BYTES_MAX,
        (b"Aa: " + b"b" * 400 + b"\r\n") * (TRAILERS_BYTES_MAX // 400 + 1),
        b"A:\r\n" * (TRAILERS_MAX + 1),
        b"Host:\r\n" * (TRAILERS_MAX + 1),
    ):
        with pytest.raises(MessageError):
            decoded(b"0\r\n" + wire)
    decoder = ChunkDecoder()
    decoder.feed(b"0\r\n" + b"A: b\r\n" * TRAILERS_MAX + b"\r\n")
    assert decoder.done
    assert decoder.trailers == [(b"A", b"b")] * TRAILERS_MAX


@pytest.mark.parametrize("step", [1, 2, 7, 1000])
def test_trailers_are_decoded_for_any_cut(step: int) -> None:
    wire = b"1\r\nx\r\n0\r\nX-Sum:  a b \t\r\nContent-Length: 3\r\nEmpty:\r\nx_forwarded_for: 6\r\n\r\nnext"
    decoder = ChunkDecoder()
    rest = b""
    for at in range(0, len(wire), step):
        rest += decoder.feed(wire[at : at + step])[1] if not decoder.done else wire[at : at + step]
    assert (decoder.trailers, rest) == ([(b"X-Sum", b"a b"), (b"Empty", b"")], b"next")


def test_a_body_ends_with_its_trailers() -> None:
    assert encode_end() == LAST_CHUNK
    assert encode_end([(b"A", b"b"), (b"C", b"")]) == b"0\r\nA: b\r\nC: \r\n\r\n"


def test_framing_without_payload_is_bounded() -> None:
    decoder = ChunkDecoder()
    one = b"1;" + b"e" * 200 + b"\r\nx\r\n"
    with pytest.raises(MessageError, match="framing"):
        for _ in range(OVERHEAD_BYTES_FREE // 100):
            decoder.feed(one)


@pytest.mark.parametrize("chunk", [b"1\r\nx\r\n", b"00f\r\n0123456789abcde\r\n", b"1;e\r\nx\r\n", b"10\r\n0123456789abcdef\r\n"])
def test_chunks_of_a_few_bytes_may_go_on_for_ever(chunk: bytes) -> None:
    wire = chunk * 200_000
    payload, rest, done = decoded(wire, list(range(0, len(wire), 65_536)))
    data = chunk[chunk.index(b"\n") + 1 : -2]
    assert (payload, rest, done) == (data * 200_000, b"", False)


@pytest.mark.parametrize(
    "chunk", [b"1\r\nx\r\n", b"000001\r\nx\r\n", b"1;e\r\nx\r\n", b"8;e\r\n01234567\r\n", b"10\r\n0123456789abcdef\r\n"]
)
def test_one_call_decodes_a_bounded_number_of_chunks(chunk: bytes) -> None:
    wire = chunk * (65_536 // len(chunk))
    decoder = ChunkDecoder()
    _, rest = decoder.feed(wire)
    decoded_bytes = len(wire) - len(rest)
    assert decoded_bytes <= max(WORK_MAX // WORK_PER_TINY_BYTE, WORK_MAX // WORK_PER_CHUNK * len(chunk)) + 64 * len(chunk)
    assert WORK_MAX - 64 * WORK_PER_CHUNK <= decoder.work <= WORK_MAX + 64 * WORK_PER_CHUNK


def test_one_large_chunk_is_little_work() -> None:
    decoder = ChunkDecoder()
    _, rest = decoder.feed(b"ffff\r\n" + b"x" * 0xFFFF + b"\r\n")
    assert not rest
    assert decoder.work <= 2 * WORK_PER_CHUNK


def test_payload_that_looks_like_framing_is_payload() -> None:
    tiny = b"".join(b"%x\r\n%b\r\n" % (len(data), data) for data in (b"1\r\n2\r\n", b"\r\n", b"\r\n1\r\n", b"0\r\n\r\n", b"1;a\r\nb") * 50)
    extended = tiny.replace(b"7\r\n1", b"7;1\r\n1")
    for wire in (tiny, extended):
        expected = reference.decode(wire + LAST_CHUNK)
        assert decoded(wire + LAST_CHUNK) == (expected.payload, b"", True)


@pytest.mark.parametrize(
    "chunk", [b"1;aaa\r\nx\r\n", b"0000001\r\nx\r\n", b"2;aaaaaaaaaaa\r\nxx\r\n", b"a;" + b"e" * 75 + b"\r\n0123456789\r\n"]
)
@pytest.mark.parametrize("lead", [b"", b"1\r\nx\r\n" * 20, b"f\r\n0123456789abcde\r\n" * 2])
def test_too_much_framing_is_refused_at_the_same_chunk(monkeypatch: pytest.MonkeyPatch, lead: bytes, chunk: bytes) -> None:
    monkeypatch.setattr(chunked, "OVERHEAD_BYTES_FREE", 100)
    accepted = []
    for count in range(500):
        try:
            reference.decode(lead + chunk * count)
        except reference.InvalidError:
            break
        accepted.append(count)
    assert 10 < len(accepted) < 500
    decoded(lead + chunk * accepted[-1])
    with pytest.raises(MessageError, match="framing"):
        decoded(lead + chunk * (accepted[-1] + 1))


DATA = st.one_of(st.binary(min_size=1, max_size=20), st.text("1\r\n;0f", min_size=1, max_size=18).map(str.encode))
DESCRIPTIONS = st.tuples(
    st.sampled_from([b"%x", b"%X", b"%04x", b"%x;e", b"%x;aa", b"%016x;", b"%x;" + b"e" * 40]), DATA, st.integers(1, 60)
)
"""A chunk, and the number of its repetitions."""


@given(
    words=st.lists(DESCRIPTIONS, max_size=5),
    end=st.sampled_from([b"", LAST_CHUNK, b"0\r\nA: b\r\n\r\nGET", b"0;x\r\n\r\n", b"1\r\n", b"g", b"5\r\nab"]),
    damage=st.lists(st.tuples(st.integers(0, 5000), st.sampled_from([b"", b"\r", b"\n", b"0", b"1", b"f", b";", b"x"])), max_size=2),
    cuts=st.lists(st.integers(0, 5000), max_size=6),
    free=st.sampled_from([0, 40, 300, 65_536]),
)
def test_fast_decoding_is_the_same_as_one_chunk_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
    words: list[tuple[bytes, bytes, int]],
    end: bytes,
    damage: list[tuple[int, bytes]],
    cuts: list[int],
    free: int,
) -> None:
    monkeypatch.setattr(chunked, "OVERHEAD_BYTES_FREE", free)  # reached by small bodies, too
    wire = b"".join((size % len(data) + b"\r\n" + data + b"\r\n") * count for size, data, count in words) + end
    for at, byte in damage:
        place = at % (len(wire) + 1)
        wire = wire[:place] + byte + wire[place + 1 :]
    cuts = [cut for cut in cuts if cut <= len(wire)]
    try:
        expected = reference.decode(wire)
    except reference.InvalidError:
        with pytest.raises(MessageError):
            decoded(wire, cuts)
    else:
        assert decoded(wire, cuts) == (expected.payload, expected.rest, expected.done)


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
