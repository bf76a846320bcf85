"""Runs of tiny chunks mean what they mean one by one; `test_chunked` compares whole bodies with a plain decoder."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portway.protocol.http1.chunk_runs import DecodeRun, extended_run, plain_run

TINY = st.lists(st.tuples(st.binary(min_size=1, max_size=7), st.sampled_from((b"", b"0", b"000"))), max_size=40)


@given(TINY)
@pytest.mark.parametrize("run", [plain_run, extended_run])
def test_complete_tiny_chunks_are_decoded_and_the_rest_is_left(run: DecodeRun, chunks: list[tuple[bytes, bytes]]) -> None:
    data = b"".join(b"%b%x\r\n%b\r\n" % (zeros, len(piece), piece) for piece, zeros in chunks)
    for rest in (b"", b"0\r\n\r\n", b"5\r\nab", b"\r\n", b"zz\r\n"):
        assert run(data + rest, 0, 1 << 16) == (b"".join(piece for piece, _ in chunks), len(data))


@pytest.mark.parametrize(
    "data", [b"1\r\nxx\r\n", b"2\r\nx\r\n\r", b"1\nx\r\n", b"+1\r\nx\r\n", b"0x1\r\nx\r\n", b"0\r\n\r\n", b"1 \r\nx\r\n", b""]
)
@pytest.mark.parametrize("run", [plain_run, extended_run])
def test_anything_else_is_not_touched(run: DecodeRun, data: bytes) -> None:
    assert run(data, 0, 1 << 16) == (b"", 0)


def test_extensions_are_for_the_slower_run() -> None:
    assert plain_run(b"1;a=b\r\nx\r\n", 0, 100) == (b"", 0)
    assert extended_run(b"1;a=b\r\nx\r\n2\r\nyz\r\n", 0, 100) == (b"xyz", 17)


def test_no_more_than_bytes_max_are_decoded() -> None:
    data = b"1\r\nx\r\n" * 100
    assert plain_run(data, 0, 60) == (b"x" * 10, 60)
    assert plain_run(data, 12, 13) == (b"xx", 24)
