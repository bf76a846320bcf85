"""Content codings are decoded within a bound, and what cannot be decoded is an error, never an exception."""

import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portway.inspector.content import decode

TEXT = b"hello " * 100
PLAIN_DEFLATE = zlib.compress(TEXT)[2:-4]


@pytest.mark.parametrize(
    ("data", "codings"),
    [
        (TEXT, b""), (TEXT, b"identity"), (gzip.compress(TEXT, mtime=0), b"gzip"), (zlib.compress(TEXT), b"deflate"), (PLAIN_DEFLATE, b"deflate"),
        (gzip.compress(zlib.compress(TEXT), mtime=0), b"deflate, gzip"),
    ],
)  # fmt: skip
def test_codings(data: bytes, codings: bytes) -> None:
    assert decode(data, codings, 10_000) == (TEXT, True, "")
    assert decode(data, codings, 10).complete is False
    assert decode(data, codings, 10).data == TEXT[:10]


@pytest.mark.parametrize("name", ["brotli", "zstandard"])
def test_codings_of_optional_packages(name: str) -> None:
    package = pytest.importorskip(name)
    coding = {"brotli": b"br", "zstandard": b"zstd"}[name]
    data = package.compress(TEXT)

    assert decode(data, coding, 10_000) == (TEXT, True, "")
    assert decode(data, coding, 10).data == TEXT[:10]
    assert decode(data[:-3], coding, 10_000, whole=False).complete is False


@pytest.mark.parametrize("codings", [b"own", b"gzip, gzip, gzip, gzip"])
def test_unknown_codings_are_errors(codings: bytes) -> None:
    assert decode(TEXT, codings, 10_000).error


def test_a_bomb_is_bounded() -> None:
    assert len(decode(gzip.compress(bytes(50_000_000)), b"gzip", 1000).data) == 1000


@given(st.binary(max_size=200), st.sampled_from([b"gzip", b"deflate", b"br", b"zstd", b""]))
def test_noise_never_raises(data: bytes, codings: bytes) -> None:
    decode(data, codings, 1000)
