"""The policy of a running proxy: its rules and those of its users, replaced as a whole when files change."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address

from portway.forward.interfaces import Target, User
from portway.forward.outcomes import Failure, Outcome
from portway.forward.policy.addresses import Address
from portway.forward.policy.own_addresses import OwnAddresses
from portway.forward.policy.rules import TargetRules, refuse_address, refuse_target


@dataclass(frozen=True, slots=True)
class RuleSet:
    """All rules at one moment."""

    common: TargetRules = field(default_factory=TargetRules)
    of_users: Mapping[str, TargetRules] = field(default_factory=dict)
    """By name, for users with rules of their own."""

    def for_user(self, user: User | None) -> tuple[TargetRules, ...]:
        """Return the rules that apply to a user."""
        own = None if user is None else self.of_users.get(user.name)
        return (self.common,) if own is None else (self.common, own)


class RulePolicy:
    """Judges targets by the current rules. A change applies to new tunnels; those that exist continue."""

    def __init__(self, rules: RuleSet | None = None, is_own: Callable[[Address], bool] | None = None) -> None:
        """Start with `rules`; without any, all public targets are allowed."""
        self.rules = rules or RuleSet()
        self._is_own = is_own or OwnAddresses()

    def judge_target(self, user: User | None, target: Target) -> Failure | None:
        """Judge a target before it is resolved."""
        return _failure(refuse_target(self.rules.for_user(user), target.host, target.port))

    def judge_remote_target(self, user: User | None, target: Target) -> Failure | None:
        """Judge a target that will be resolved elsewhere, by another proxy or an agent: nothing is judged afterwards."""
        return _failure(refuse_target(self.rules.for_user(user), target.host, target.port, final=True))

    def judge_address(self, user: User | None, target: Target, address: IPv4Address | IPv6Address) -> Failure | None:
        """Judge one address of a target; the connector dials only an address for which the result is None."""
        return _failure(refuse_address(self.rules.for_user(user), target.host, target.port, address, self._is_own))


def _failure(refusal: str | None) -> Failure | None:
    if refusal is None:
        return None
    return Failure(Outcome.FORBIDDEN, f"This target is not allowed: {refusal}. Ask the operator of this proxy to allow it.")
