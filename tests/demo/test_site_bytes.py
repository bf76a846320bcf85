"""The sample's bytes are the same everywhere, and every change of them shows."""

import hashlib
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portway.demo.site_bytes import BLOCK_BYTES, SAMPLE_BYTES, blocks, sums


@given(st.integers(min_value=0, max_value=3 * BLOCK_BYTES + 1))
def test_as_many_bytes_come_as_were_asked_for(count: int) -> None:
    assert sum(len(block) for block in blocks(count)) == count


def test_a_shorter_sample_is_the_beginning_of_a_longer_one() -> None:
    longer = b"".join(blocks(2 * BLOCK_BYTES + 17))
    assert b"".join(blocks(BLOCK_BYTES + 5)) == longer[: BLOCK_BYTES + 5]


def test_no_two_blocks_are_equal_so_that_a_swapped_one_shows() -> None:
    assert len(set(blocks(20 * BLOCK_BYTES))) == 20


@pytest.mark.parametrize("count", [0, 1, BLOCK_BYTES, BLOCK_BYTES + 1])
def test_the_sums_are_those_of_the_bytes(count: int) -> None:
    whole = b"".join(blocks(count))
    told = sums(count)
    assert (told.count, told.crc32, told.sha256) == (count, f"{zlib.crc32(whole):08x}", hashlib.sha256(whole).hexdigest())


def test_the_sample_is_the_same_in_every_demo() -> None:
    # Whoever compares two machines compares this; change it on purpose only.
    assert sums(SAMPLE_BYTES).sha256 == "75bbf31d5ef01ed06b67593fb41e78f0c0d42dc489d2abd98dbceefd990879da"
