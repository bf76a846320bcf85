from ipaddress import ip_address

from portway.forward.interfaces import Target, User
from portway.forward.outcomes import Outcome
from portway.forward.policy.pattern_set import PatternSet
from portway.forward.policy.patterns import read_pattern
from portway.forward.policy.policy import RulePolicy, RuleSet
from portway.forward.policy.rules import TargetRules

ANN, BOB = User("ann"), User("bob")
TARGET = Target("a.example", 443)
PUBLIC = ip_address("93.184.216.34")


def allow(*texts: str) -> TargetRules:
    return TargetRules(allow=PatternSet(map(read_pattern, texts)))


def test_a_refusal_is_forbidden_and_names_the_cause() -> None:
    failure = RulePolicy().judge_address(None, TARGET, ip_address("127.0.0.1"))

    assert failure is not None
    assert failure.outcome is Outcome.FORBIDDEN
    assert "it is a loopback address" in failure.text
    assert "127.0.0.1" not in failure.text, "a client does not learn what a name resolves to"


def test_users_have_their_own_rules() -> None:
    policy = RulePolicy(RuleSet(of_users={"bob": allow("b.example")}))

    assert policy.judge_target(None, TARGET) is None
    assert policy.judge_target(ANN, TARGET) is None
    assert policy.judge_address(ANN, TARGET, PUBLIC) is None
    assert policy.judge_target(BOB, TARGET) is not None
    assert policy.judge_address(BOB, TARGET, PUBLIC) is not None


def test_new_rules_apply_at_once() -> None:
    policy = RulePolicy()
    policy.rules = RuleSet(allow("b.example"))

    assert policy.judge_target(None, TARGET) is not None


def test_a_target_that_is_resolved_elsewhere_needs_a_rule_for_its_name() -> None:
    policy = RulePolicy(RuleSet(allow("93.184.216.0/24")))

    assert policy.judge_target(None, TARGET) is None
    assert policy.judge_remote_target(None, TARGET) is not None
    assert policy.judge_address(None, TARGET, PUBLIC) is None


def test_addresses_of_this_machine_are_refused() -> None:
    policy = RulePolicy(is_own=lambda address: address == PUBLIC)
    failure = policy.judge_address(None, TARGET, PUBLIC)

    assert failure is not None
    assert "an address of this machine" in failure.text
