"""Recognises addresses of this machine."""

import socket

from portway.clock import Clock, monotonic
from portway.forward.policy.addresses import Address

REMEMBERED_S = 5.0
"""How long an answer is used; interfaces rarely change, and the kernel's answer costs as much as a tenth of a tunnel."""

REMEMBERED_MAX = 4096


class OwnAddresses:
    """Remembers for seconds which addresses belong to this machine."""

    def __init__(self, clock: Clock = monotonic) -> None:
        """Start empty."""
        self._clock = clock
        self._known: dict[Address, bool] = {}
        self._until = 0.0

    def __call__(self, address: Address) -> bool:
        """Return whether `address` belongs to this machine, or did some seconds ago."""
        now = self._clock()
        if now >= self._until or len(self._known) >= REMEMBERED_MAX:
            self._known.clear()
            self._until = now + REMEMBERED_S
        known = self._known.get(address)
        if known is None:
            known = self._known[address] = is_own_address(address)
        return known


def is_own_address(address: Address) -> bool:
    """Return whether `address` belongs to an interface of this machine at this moment.

    The kernel is asked for the source address towards it (a UDP socket sends nothing when it connects): towards an own address it is that address.
    Takes about 10 µs, and is right also after the interfaces have changed.
    """
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((str(address), 9))
            return str(probe.getsockname()[0]) == str(address)
    except OSError:  # no route, or no IPv6 at all
        return False
