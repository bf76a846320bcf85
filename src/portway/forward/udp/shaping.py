"""Rates of datagrams: a socket is not read while its direction has no credit."""

from collections.abc import Callable

from portway.engine.bucket import Bucket, Share


class DatagramRate:
    """The credit of one direction of an association.

    A datagram cannot be sent in part, so that one passes as soon as there is any credit, and what it takes beyond that is paid
    before the next one. Datagrams that arrive meanwhile wait in the socket's buffer; the kernel drops those that do not fit.
    """

    __slots__ = ("_debts", "_shares")

    def __init__(self, buckets: tuple[Bucket, ...], wake: Callable[[], None]) -> None:
        """`wake` is called when there is credit again, after `has_credit` returned False."""
        self._shares = tuple(Share(bucket, wake) for bucket in buckets)
        self._debts = [0] * len(buckets)

    def has_credit(self) -> bool:
        """Return whether a datagram may pass; False guarantees a later call of `wake`."""
        for number, share in enumerate(self._shares):
            while self._debts[number]:
                paid = min(share.credit or share.request(), self._debts[number])
                if not paid:
                    return False
                share.credit -= paid
                self._debts[number] -= paid
            if not (share.credit or share.request()):
                return False
        return True

    def charge(self, size: int) -> None:
        """Take the credit for a datagram of `size` bytes."""
        for number, share in enumerate(self._shares):
            paid = min(size, share.credit)
            share.credit -= paid
            self._debts[number] += size - paid

    def release(self) -> None:
        """Return unused credit; `wake` is not called any more."""
        for share in self._shares:
            share.release()
        self._shares = ()
