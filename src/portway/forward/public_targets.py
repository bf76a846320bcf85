"""The policy without lists: every public address is allowed, others only on request."""

from ipaddress import IPv4Address, IPv6Address

from portway.forward.interfaces import Target, User
from portway.forward.outcomes import Failure, Outcome


class PublicTargets:
    """Allows public addresses, and with `allow_private` all."""

    def __init__(self, *, allow_private: bool) -> None:
        """Allow private targets, too, if asked to."""
        self._allow_private = allow_private

    def judge_target(self, _user: User | None, _target: Target) -> Failure | None:
        """Allow every name."""
        return None

    def judge_address(self, _user: User | None, target: Target, address: IPv4Address | IPv6Address) -> Failure | None:
        """Refuse addresses that are not public, also inside an IPv6 address."""
        if self._allow_private or is_public(address):
            return None
        return Failure(Outcome.FORBIDDEN, f"{target} is not a public address: the proxy's operator can allow it with --allow-private.")


def is_public(address: IPv4Address | IPv6Address) -> bool:
    """Return whether an address is public, and so is the IPv4 address that it contains, if any."""
    if isinstance(address, IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if inner is not None:
            return is_public(inner)
        if address.teredo is not None or address.packed[:12] in (_NAT64, bytes(12)):
            return False
    return address.is_global and not address.is_multicast


_NAT64 = bytes.fromhex("0064ff9b0000000000000000")
