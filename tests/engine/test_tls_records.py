"""Feeding OpenSSL: every byte in order, in any cut, and never more than a few records at a time."""

import ssl

from hypothesis import given
from hypothesis import strategies as st

from portway.engine.tls_records import FEED_RECORD_BYTES, RECORDS_A_FEED, RecordFeed


def record(size: int, fill: int) -> bytes:
    return b"\x17\x03\x03" + size.to_bytes(2, "big") + bytes((fill % 251,)) * size


def drain(bio: ssl.MemoryBIO) -> bytes:
    return bio.read()


@given(
    sizes=st.lists(st.one_of(st.integers(0, 30), st.sampled_from([5, 255, 256, 16_000])), max_size=200),
    cuts=st.lists(st.integers(1, 40_000), max_size=60),
    in_parts=st.booleans(),
)
def test_all_bytes_pass_in_order_and_few_records_at_a_time(sizes: list[int], cuts: list[int], in_parts: bool) -> None:
    wire = b"".join(record(size, number) for number, size in enumerate(sizes))
    bio = ssl.MemoryBIO()
    feed = RecordFeed(bio, in_parts=in_parts)
    fed, rest = b"", wire
    ends = [sum(5 + size for size in sizes[:count]) for count in range(len(sizes) + 1)]

    def check(before: int) -> None:
        begun = sum(before <= end < len(fed) for end in ends[:-1])
        assert begun <= RECORDS_A_FEED + 1  # one more may have begun with a header cut in two
        assert not in_parts or len(fed) - before <= FEED_RECORD_BYTES

    for cut in [*cuts, len(wire) + 1]:
        piece, rest = rest[:cut], rest[cut:]
        if piece:
            feed.put(memoryview(bytearray(piece)))
        while True:
            before = len(fed)
            fed += drain(bio)
            check(before)
            if not feed.waiting:
                break
            feed.put_waiting()
    assert fed == wire
    assert feed.without_data == len(sizes)


def test_buffered_records_are_a_copy() -> None:
    bio = ssl.MemoryBIO()
    feed = RecordFeed(bio)
    shared = bytearray(b"".join(record(1, number) for number in range(RECORDS_A_FEED + 3)))
    wire = bytes(shared)
    feed.put(memoryview(shared))
    shared[:] = bytes(len(shared))
    fed = drain(bio)
    assert len(fed) == RECORDS_A_FEED * 6
    feed.put_waiting()
    assert fed + drain(bio) == wire
    assert not feed.waiting


def test_large_records_are_fed_one_at_a_time_in_parts() -> None:
    bio = ssl.MemoryBIO()
    feed = RecordFeed(bio, in_parts=True)
    records = [record(16_406, number) for number in range(3)]
    feed.put(memoryview(b"".join(records) + records[0][:100]))
    fed = [drain(bio)]
    while feed.waiting:
        feed.put_waiting()
        fed.append(drain(bio))
    assert fed == [*records, records[0][:100]]


def test_noise_is_passed_on_for_openssl_to_refuse() -> None:
    bio = ssl.MemoryBIO()
    feed = RecordFeed(bio)
    feed.put(memoryview(b"\xff" * 100_000))
    fed = drain(bio)
    while feed.waiting:
        feed.put_waiting()
        fed += drain(bio)
    assert fed == b"\xff" * 100_000


def test_records_that_were_bounded_before_are_not_counted() -> None:
    feed = RecordFeed(ssl.MemoryBIO())
    feed.put_received(memoryview(b"".join(record(1, number) for number in range(3 * RECORDS_A_FEED))))
    while feed.waiting:
        feed.put_waiting()
        assert feed.without_data == 0
    feed.put(memoryview(record(1, 0) * 2 * RECORDS_A_FEED))
    feed.put_waiting()
    assert feed.without_data == 2 * RECORDS_A_FEED
