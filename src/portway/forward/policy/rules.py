"""Rules about targets: what is blocked, what is allowed, and which special addresses are. Pure, except for the addresses of this machine.

Block wins. Without an allow pattern or list, every public target is allowed. An address is judged after resolution, whatever spelling it had, and
only a judged address may be dialled. Every method returns why a target is refused, or None.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_network

from portway.forward.policy.addresses import METADATA, OWN, Address, SpecialNetwork, canonical_address, special_network
from portway.forward.policy.host_list import HostList
from portway.forward.policy.pattern_set import PatternSet


@dataclass(frozen=True, slots=True)
class TargetRules:
    """The rules of the proxy, or those of one user, which apply in addition."""

    allow: PatternSet = field(default_factory=PatternSet)
    block: PatternSet = field(default_factory=PatternSet)
    allow_lists: tuple[HostList, ...] = ()
    block_lists: tuple[HostList, ...] = ()
    allow_private: bool = False

    @property
    def allows_all(self) -> bool:
        """Whether there is nothing that narrows what is allowed."""
        return not self.allow and not self.allow_lists

    def refuses_target(self, host: str, port: int, *, final: bool = False) -> str | None:
        """Judge what a client asked for; `host` is normalised.

        A name that is not allowed by itself may still resolve to an allowed network: `refuses_address` decides then. With `final` nothing is going to be
        resolved here, because another proxy does that.
        """
        pattern = self.block.match_target(host, port)
        if pattern is not None:
            return "a rule of this proxy blocks it"
        if self.block_lists and _in_any(self.block_lists, host):
            return "a list of this proxy blocks it"
        if self.allows_all or self._allows_target(host, port) or (self.allow.has_networks and not final):
            return None
        return "no rule of this proxy allows it"

    def refuses_address(self, host: str, port: int, address: Address) -> str | None:
        """Judge an address, in its canonical form, to which `host` was resolved."""
        if self.block.match_address(address, port) is not None or (self.block_lists and _in_any(self.block_lists, str(address))):
            return "a rule of this proxy blocks its address"
        if self.allows_all or self._allows_target(host, port) or self.allow.match_address(address, port) is not None:
            return None
        return "no rule of this proxy allows it"

    def allows_special(self, address: Address, port: int, special: SpecialNetwork) -> bool:
        """Return whether the rules open a special address: `allow_private` all but metadata services, a network those that it names."""
        return (self.allow_private and special.kind != METADATA) or self.allow.names_special(address, port, special)

    def _allows_target(self, host: str, port: int) -> bool:
        return self.allow.match_target(host, port) is not None or _in_any(self.allow_lists, host)


def refuse_target(rules: Sequence[TargetRules], host: str, port: int, *, final: bool = False) -> str | None:
    """Judge a target by the rules of the proxy and of the user: all have to allow it."""
    for one in rules:
        refusal = one.refuses_target(host, port, final=final)
        if refusal is not None:
            return refusal
    return None


def refuse_address(rules: Sequence[TargetRules], host: str, port: int, address: Address, is_own: Callable[[Address], bool]) -> str | None:
    """Judge an address to which a target was resolved; a special one needs rules that open it, of the proxy or of the user."""
    address = canonical_address(address)
    for one in rules:
        refusal = one.refuses_address(host, port, address)
        if refusal is not None:
            return refusal
    special = special_network(address)
    if special is None and is_own(address):
        special = SpecialNetwork(ip_network(str(address)), OWN)
    if special is None:
        return None
    for one in rules:
        if one.allows_special(address, port, special):
            return None
    how = "an --allow that names it" if special.kind == METADATA else "--allow-private, or an --allow that names it"
    return f"it is {special.kind}, which this proxy connects to only with {how}"


def _in_any(lists: tuple[HostList, ...], host: str) -> bool:
    return any(one.matches(host) for one in lists)
