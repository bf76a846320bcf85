"""Pipes that are lent to pumps: sizes, bounds, and what becomes of bytes in them."""

import fcntl
import os
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from portway.engine import pipe_pool
from portway.engine.pipe_pool import PIPE_BYTES_MIN, PIPES_MAX, RETRY_S, STALLED_S, Pipe, PipePool
from tests.kit.sockets import open_descriptors
from tests.kit.splicing import needs_splice

pytestmark = needs_splice

SCRATCH = memoryview(bytearray(256 * 1024))


class Holder:
    """A pump with bytes in its pipe."""

    def __init__(self, pool: PipePool, now: float = 0.0) -> None:
        self.pool = pool
        self.pipe = pool.take(now)
        assert self.pipe is not None
        os.write(self.pipe.write_fd, b"bytes")
        self.rescued = b""
        pool.hold(self, now)

    def vacate_pipe(self) -> None:
        assert self.pipe is not None
        self.rescued = os.read(self.pipe.read_fd, 100)
        self.pool.return_pipe(self, self.pipe, empty=True)


@pytest.fixture
def pool() -> Iterator[PipePool]:
    pool = PipePool(SCRATCH, enabled=True)
    yield pool
    pool.close()


def test_a_pipe_is_as_large_as_the_kernel_allows(pool: PipePool) -> None:
    pipe = pool.take(0.0)
    assert pipe is not None
    assert pipe.size_bytes == fcntl.fcntl(pipe.read_fd, fcntl.F_GETPIPE_SZ)
    assert pipe.size_bytes >= PIPE_BYTES_MIN
    with pytest.raises(BlockingIOError):
        os.read(pipe.read_fd, 1)
    pool.return_pipe(Holder(pool), pipe, empty=True)


def test_a_size_above_the_limit_is_halved_until_it_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit of an ordinary user cannot be reached by root; an impossible size is refused to all."""
    impossible = 2**32 - 1
    pipe = Pipe(impossible)
    assert PIPE_BYTES_MIN <= pipe.size_bytes < impossible
    pipe.close()
    monkeypatch.setattr(pipe_pool, "PIPE_BYTES_MIN", impossible)
    before = open_descriptors()
    with pytest.raises(OSError, match="Invalid argument"):
        Pipe(impossible)
    assert open_descriptors() == before


def test_pipes_are_lent_again_and_bounded(pool: PipePool) -> None:
    assert pool.pipes_max == PIPES_MAX
    first = Holder(pool)
    assert first.pipe is not None
    first.vacate_pipe()
    assert pool.take(0.0) is first.pipe
    holders = [Holder(pool) for _ in range(PIPES_MAX - 1)]
    assert pool.take(STALLED_S / 2) is None
    assert pool.open_pipes == PIPES_MAX
    assert not any(holder.rescued for holder in holders)


def test_few_descriptors_mean_few_pipes() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
        assert PipePool(SCRATCH, enabled=True).pipes_max == 8
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_the_pipe_that_is_stalled_longest_is_emptied_for_another_relay(pool: PipePool) -> None:
    holders = [Holder(pool, number / 100) for number in range(PIPES_MAX)]
    pool.hold(holders[0], STALLED_S)  # it has moved
    assert pool.take(STALLED_S) is None, "no other has waited long enough"
    assert pool.take(STALLED_S + 0.01) is holders[1].pipe
    assert [holder.rescued for holder in holders[:3]] == [b"", b"bytes", b""]
    assert pool.open_pipes == PIPES_MAX


def test_a_pipe_with_bytes_is_never_lent_again(pool: PipePool) -> None:
    holder = Holder(pool)
    assert holder.pipe is not None
    pool.return_pipe(holder, holder.pipe, empty=False)
    assert pool.open_pipes == 0
    again = pool.take(0.0)
    assert again is not None
    with pytest.raises(BlockingIOError):
        os.read(again.read_fd, 1)


def test_without_descriptors_there_is_no_pipe_for_a_moment(pool: PipePool) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with Path(os.devnull).open() as lowest:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (lowest.fileno() + 1, hard))
            assert pool.take(0.0) is None
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert pool.take(RETRY_S / 2) is None
    assert pool.take(RETRY_S) is not None


def test_a_system_that_cannot_splice_gets_large_reads() -> None:
    pool = PipePool(SCRATCH, enabled=True)
    assert len(pool.read_buffer) < len(SCRATCH)
    pool.disable()
    assert (len(pool.read_buffer), pool.take(0.0)) == (len(SCRATCH), None)
    assert len(PipePool(SCRATCH, enabled=False).read_buffer) == len(SCRATCH)


def test_nothing_is_open_after_the_close() -> None:
    before = open_descriptors()
    pool = PipePool(SCRATCH, enabled=True)
    holders = [Holder(pool), Holder(pool)]
    holders[0].vacate_pipe()
    pool.close()
    assert open_descriptors() == before + 2, "one is still lent"
    holders[1].vacate_pipe()
    assert open_descriptors() == before
