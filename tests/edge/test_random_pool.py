"""Random bytes are returned once each."""

import itertools

from portway.edge.random_pool import POOL_BYTES, RandomPool


def test_bytes_come_from_the_source_and_never_twice() -> None:
    draws: list[int] = []
    numbers = itertools.count()

    def source(count: int) -> bytes:
        draws.append(count)
        return b"".join(next(numbers).to_bytes(4, "big") for _ in range(count // 4))

    pool = RandomPool(source)
    dealt = [pool(16) for _ in range(2 * POOL_BYTES // 16)]
    assert b"".join(dealt) == b"".join(number.to_bytes(4, "big") for number in range(2 * POOL_BYTES // 4))
    assert draws == [POOL_BYTES, POOL_BYTES]


def test_a_rest_that_is_too_short_is_left() -> None:
    pool = RandomPool(lambda count: bytes(range(100)) + bytes(count - 100))
    first = pool(POOL_BYTES - 4)
    assert (len(first), pool(8)) == (POOL_BYTES - 4, bytes(range(8)))
