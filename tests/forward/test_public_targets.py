"""Which addresses are public."""

from ipaddress import ip_address

import pytest

from portway.forward.interfaces import Target
from portway.forward.outcomes import Outcome
from portway.forward.public_targets import PublicTargets, is_public


@pytest.mark.parametrize("text", ["8.8.8.8", "1.1.1.1", "2606:4700:4700::1111", "::ffff:8.8.8.8", "2002:808:808::1"])
def test_public_addresses(text: str) -> None:
    assert is_public(ip_address(text))


@pytest.mark.parametrize(
    "text",
    [
        *("0.0.0.0", "10.1.2.3", "127.0.0.1", "127.9.9.9", "169.254.169.254", "172.16.0.1", "192.168.0.1", "100.64.0.1", "192.0.2.1"),
        *("198.18.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255", "::", "::1", "fe80::1", "fc00::1", "fd00:ec2::254", "ff02::1"),
        *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "::127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "2001:0:1::1", "2001:db8::1"),
    ],
)
def test_addresses_that_are_not_public(text: str) -> None:
    assert not is_public(ip_address(text))
    target = Target("name.test", 80)
    failure = PublicTargets(allow_private=False).judge_address(None, target, ip_address(text))
    assert failure is not None
    assert failure.outcome is Outcome.FORBIDDEN
    assert PublicTargets(allow_private=True).judge_address(None, target, ip_address(text)) is None
