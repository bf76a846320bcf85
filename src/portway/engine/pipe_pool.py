"""Pipes for splicing: the kernel moves bytes from a socket into a pipe, and from there to another socket, without copying them here."""

import logging
import os
from typing import Protocol

try:
    import fcntl
    import resource
except ImportError:  # not a Unix system, and so without splice
    can_splice = False
else:
    can_splice = hasattr(os, "splice")

PIPES_MAX = 32
"""Pipes per process: 32 MiB of kernel memory at most, half of what the kernel lets an ordinary user have before it shrinks that
user's pipes (`fs.pipe-user-pages-soft`). A relay uses one only while bytes are in it, so 32 suffice for more relays than that."""
DESCRIPTORS_PART = 16
"""The pipes may use this part of the descriptors, two for each pipe: 32 pipes of 1,024 descriptors."""
PIPE_BYTES_MAX, PIPE_BYTES_MIN = 1024 * 1024, 64 * 1024
"""Size of a pipe: the most that the kernel allows without privileges. Below 64 KiB a copy is cheaper than two system calls."""
FULL_READ_BYTES = 64 * 1024
"""A read of this size is taken for a part of a long transfer, and the bytes that follow are spliced: 64 KiB cost 13 us to copy."""
STALLED_S = 1.0
"""When all pipes are in use, one whose bytes have not moved for this time is emptied for another relay."""
RETRY_S = 1.0
"""After the system refused a pipe (EMFILE, EPERM), relays copy for this time before the next attempt."""

log = logging.getLogger("portway.engine")


class PipeHolder(Protocol):
    """A pump whose sink is blocked while bytes are in its pipe."""

    def vacate_pipe(self) -> None:
        """Read the bytes into memory, and give the pipe back."""


class Pipe:
    """One pipe; both ends never block."""

    __slots__ = ("read_fd", "size_bytes", "write_fd")

    def __init__(self, size_bytes: int) -> None:
        """Create a pipe of `size_bytes`, or of the largest size that the kernel allows.

        Raises:
            OSError: there is no descriptor left, or the size would be below PIPE_BYTES_MIN.
        """
        self.read_fd, self.write_fd = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            self.size_bytes = self._grow(size_bytes)
        except OSError:
            self.close()
            raise

    def _grow(self, size_bytes: int) -> int:
        while True:
            try:
                return fcntl.fcntl(self.write_fd, fcntl.F_SETPIPE_SZ, size_bytes)
            except OSError:  # EPERM: above the user's limit
                size_bytes //= 2
                if size_bytes < PIPE_BYTES_MIN:
                    raise

    def close(self) -> None:
        """Close both ends; bytes that are still in the pipe are lost."""
        os.close(self.read_fd)
        os.close(self.write_fd)


def _descriptor_limit() -> int:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 2 * DESCRIPTORS_PART * PIPES_MAX if soft == resource.RLIM_INFINITY else soft


class PipePool:
    """Lends empty pipes to pumps, at most `pipes_max` of them; a pump without one copies."""

    def __init__(self, scratch: memoryview, *, enabled: bool = can_splice) -> None:
        """Create no pipe yet. Reads that are copied use `scratch`."""
        self.enabled = enabled
        """False where the system cannot splice, once it has refused to splice sockets (a sandbox), and once the pool is closed."""
        self.pipes_max = min(PIPES_MAX, _descriptor_limit() // (2 * DESCRIPTORS_PART)) if enabled else 0
        self.read_buffer = scratch[:FULL_READ_BYTES] if enabled else scratch
        """Buffer for reads that are copied; a read that fills it begins a long transfer."""
        self._scratch = scratch
        self._size_bytes = PIPE_BYTES_MAX
        self._lent = 0
        self._free: list[Pipe] = []
        self._holders: dict[PipeHolder, float] = {}
        self._retry_at = 0.0

    @property
    def open_pipes(self) -> int:
        """Number of pipes, each of two descriptors."""
        return self._lent + len(self._free)

    def take(self, now: float) -> Pipe | None:
        """Return an empty pipe, or None: then copy."""
        if not self.enabled:
            return None
        if not self._free:
            if self.open_pipes >= self.pipes_max:
                self._vacate_stalled(now)
            elif now >= self._retry_at:
                self._open(now)
            if not self._free:
                return None
        self._lent += 1
        return self._free.pop()

    def hold(self, holder: PipeHolder, now: float) -> None:
        """Register a pump that waits with bytes in its pipe, or has just moved some of them."""
        self._holders.pop(holder, None)
        self._holders[holder] = now

    def return_pipe(self, holder: PipeHolder, pipe: Pipe, *, empty: bool) -> None:
        """Take a pipe back. One with bytes is closed: they would go to the next relay."""
        self._holders.pop(holder, None)
        self._lent -= 1
        if empty and self.enabled:
            self._free.append(pipe)
        else:
            pipe.close()

    def disable(self) -> None:
        """Copy from now on, with a larger buffer, because this system cannot splice."""
        if self.enabled:
            log.info("splice not available, relays copy")
            self.close()
            self.read_buffer = self._scratch

    def close(self) -> None:
        """Close the free pipes; the others are closed when they come back."""
        self.enabled = False
        while self._free:
            self._free.pop().close()

    def _open(self, now: float) -> None:
        try:
            pipe = Pipe(self._size_bytes)
        except OSError:
            self._retry_at = now + RETRY_S
        else:
            self._size_bytes = pipe.size_bytes
            self._free.append(pipe)

    def _vacate_stalled(self, now: float) -> None:
        """Empty the pipe that has been waiting longest, if that is long enough."""
        for holder, since in self._holders.items():
            if now - since >= STALLED_S:
                holder.vacate_pipe()
            return
