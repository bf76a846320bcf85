"""The sample's bytes are the same everywhere, and its checksums detect every change."""

import hashlib
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portway.demo.site_bytes import BLOCK_BYTES, SAMPLE_BYTES, blocks, sums


@given(st.integers(min_value=0, max_value=3 * BLOCK_BYTES + 1))
def test_the_number_of_bytes_is_as_requested(count: int) -> None:
    assert sum(len(block) for block in blocks(count)) == count


def test_a_shorter_sample_is_a_prefix_of_a_longer_one() -> None:
    longer = b"".join(blocks(2 * BLOCK_BYTES + 17))
    assert b"".join(blocks(BLOCK_BYTES + 5)) == longer[: BLOCK_BYTES + 5]


def test_all_blocks_differ() -> None:
    assert len(set(blocks(20 * BLOCK_BYTES))) == 20


@pytest.mark.parametrize("count", [0, 1, BLOCK_BYTES, BLOCK_BYTES + 1])
def test_checksums_match_the_bytes(count: int) -> None:
    whole = b"".join(blocks(count))
    found = sums(count)
    assert (found.count, found.crc32, found.sha256) == (count, f"{zlib.crc32(whole):08x}", hashlib.sha256(whole).hexdigest())


def test_the_sample_is_the_same_in_every_demo() -> None:
    # Comparisons between machines rely on this value; change it only on purpose.
    assert sums(SAMPLE_BYTES).sha256 == "75bbf31d5ef01ed06b67593fb41e78f0c0d42dc489d2abd98dbceefd990879da"
