from ipaddress import ip_address

import pytest

from portway.forward.policy.host_list import BUCKETS, HostList
from portway.forward.policy.pattern_set import PatternSet
from portway.forward.policy.patterns import read_pattern
from portway.forward.policy.rules import TargetRules, refuse_address, refuse_target

PUBLIC, PRIVATE, OWN, METADATA = "93.184.216.34", "10.1.2.3", "93.184.216.99", "169.254.169.254"


def rules(allow: str = "", block: str = "", *, allow_list: str = "", block_list: str = "", allow_private: bool = False) -> TargetRules:
    return TargetRules(
        PatternSet(map(read_pattern, allow.split())),
        PatternSet(map(read_pattern, block.split())),
        (names(allow_list),) if allow_list else (),
        (names(block_list),) if block_list else (),
        allow_private,
    )


def names(text: str) -> HostList:
    found = HostList(b"k" * 16)
    for name in text.split():
        found.add(name.encode())
    for number in range(BUCKETS):
        found.finish_bucket(number)
    return found


def allowed(host: str, address: str, *all_rules: TargetRules, port: int = 443) -> bool:
    """Return whether a target that was resolved to `address` may be dialled."""
    if refuse_target(all_rules, host, port) is not None:
        return False
    return refuse_address(all_rules, host, port, ip_address(address), lambda found: str(found) == OWN) is None


def test_without_rules_all_public_targets_are_allowed() -> None:
    assert allowed("a.example", PUBLIC, rules())
    assert not allowed("a.example", PRIVATE, rules())
    assert not allowed("a.example", METADATA, rules())
    assert not allowed("a.example", OWN, rules())
    assert not allowed("a.example", "::ffff:127.0.0.1", rules())
    assert not allowed("a.example", "64:ff9b::7f00:1", rules())


def test_private_addresses_are_opened_without_metadata_services() -> None:
    open_rules = rules(allow_private=True)

    assert allowed("a.example", PRIVATE, open_rules)
    assert allowed("a.example", OWN, open_rules)
    assert allowed("a.example", "127.0.0.1", open_rules)
    assert not allowed("a.example", METADATA, open_rules)
    assert not allowed("a.example", "fd00:ec2::254", open_rules)
    assert allowed("a.example", METADATA, rules("* 169.254.169.254"))


def test_a_network_that_names_private_addresses_opens_them() -> None:
    assert allowed("a.example", PRIVATE, rules("10.0.0.0/8"))
    assert allowed("a.example", PRIVATE, rules("* 10.1.0.0/16"))
    assert not allowed("a.example", PRIVATE, rules("* 10.2.0.0/16"))
    assert not allowed("a.example", PRIVATE, rules("0.0.0.0/0"))
    assert not allowed("a.example", PRIVATE, rules("a.example")), "a name does not vouch for what it resolves to"
    assert allowed("a.example", OWN, rules(f"* {OWN}"))
    assert not allowed("a.example", PRIVATE, rules("10.0.0.0/8:80"))


def test_with_allow_patterns_only_those_are_allowed() -> None:
    some = rules("*.example:443 93.184.216.0/24:8443")

    assert allowed("a.example", PUBLIC, some)
    assert not allowed("a.example", PUBLIC, some, port=80)
    assert not allowed("a.test", PUBLIC, some)
    assert allowed("a.test", PUBLIC, some, port=8443), "its address is in an allowed network"
    assert not allowed("a.test", "198.51.101.1", some, port=8443)
    assert allowed(PUBLIC, PUBLIC, some, port=8443)
    assert not allowed(PUBLIC, PUBLIC, some)


def test_block_wins() -> None:
    some = rules("*.example *", "bad.example *.evil.example 93.184.216.0/24:25 *:6667")

    assert allowed("good.example", PUBLIC, some)
    assert not allowed("bad.example", PUBLIC, some)
    assert not allowed("x.evil.example", PUBLIC, some)
    assert not allowed("good.example", PUBLIC, some, port=25)
    assert not allowed("good.example", PUBLIC, some, port=6667)
    assert not allowed("a.example", PRIVATE, rules(block="10.0.0.0/8", allow_private=True))
    assert not allowed("a.example", "64:ff9b::10.1.2.3", rules(block="10.0.0.0/8", allow_private=True))


def test_lists_of_hosts_allow_and_block() -> None:
    assert not allowed("x.ads.example", PUBLIC, rules(block_list="ads.example"))
    assert allowed("news.example", PUBLIC, rules(block_list="ads.example"))
    assert allowed("x.work.example", PUBLIC, rules(allow_list="work.example"))
    assert not allowed("news.example", PUBLIC, rules(allow_list="work.example"))
    assert allowed("a.test", PUBLIC, rules("*.test", allow_list="work.example"))
    assert not allowed("a.example", "192.0.2.7", rules(block_list="192.0.2.7", allow_private=True))


def test_rules_of_a_user_apply_in_addition() -> None:
    assert allowed("a.example", PUBLIC, rules("*.example"), rules("a.example"))
    assert not allowed("b.example", PUBLIC, rules("*.example"), rules("a.example"))
    assert not allowed("a.test", PUBLIC, rules("*.example"), rules("*"))
    assert not allowed("a.example", PUBLIC, rules(), rules(block="a.example"))
    assert allowed("a.example", PRIVATE, rules(), rules(allow_private=True)), "a user may be given what the proxy does not open to all"
    assert not allowed("a.example", PRIVATE, rules(block="10.0.0.0/8"), rules(allow_private=True))


@pytest.mark.parametrize(("host", "refused"), [("a.example", True), ("10.0.0.1", False), ("b.test", False)])
def test_a_target_that_another_proxy_resolves_is_judged_by_what_is_known(host: str, refused: bool) -> None:
    some = (rules("10.0.0.0/8 b.test"),)

    assert refuse_target(some, "a.example", 443) is None
    assert (refuse_target(some, host, 443, final=True) is not None) == refused
