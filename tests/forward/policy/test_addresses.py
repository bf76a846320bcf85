from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portway.forward.policy.addresses import METADATA, canonical_address, embedded_ipv4, read_address, special_network


@pytest.mark.parametrize(
    ("address", "kind"),
    [
        ("0.0.0.0", "unspecified"),
        ("0.1.2.3", "unspecified"),
        ("10.255.255.255", "private"),
        ("172.16.0.1", "private"),
        ("172.31.255.255", "private"),
        ("192.168.0.1", "private"),
        ("100.64.0.1", "CGNAT"),
        ("100.127.255.255", "CGNAT"),
        ("127.0.0.1", "loopback"),
        ("127.255.255.254", "loopback"),
        ("169.254.0.1", "link-local"),
        ("169.254.169.254", "metadata"),
        ("168.63.129.16", "metadata"),
        ("192.0.0.8", "protocols"),
        ("192.0.2.1", "documentation"),
        ("192.88.99.1", "6to4"),
        ("198.19.255.255", "benchmarks"),
        ("224.0.0.1", "multicast"),
        ("239.255.255.255", "multicast"),
        ("240.0.0.1", "reserved"),
        ("255.255.255.255", "broadcast"),
        ("::", "unspecified"),
        ("::1", "loopback"),
        ("::7f00:1", "compatible"),
        ("::ffff:127.0.0.1", "loopback"),
        ("::ffff:0:127.0.0.1", "translated"),
        ("64:ff9b::127.0.0.1", "loopback"),
        ("64:ff9b::169.254.169.254", "metadata"),
        ("64:ff9b:1::8.8.8.8", "NAT64"),
        ("100::1", "discards"),
        ("2001::1", "Teredo"),
        ("2001:10::1", "protocols"),
        ("2001:db8::1", "documentation"),
        ("3fff::1", "documentation"),
        ("2002:7f00:1::1", "6to4"),
        ("2600::5efe:127.0.0.1", "loopback"),
        ("fd00::1", "private"),
        ("fd00:ec2::254", "metadata"),
        ("fe80::1", "link-local"),
        ("fec0::1", "site-local"),
        ("ff02::1", "multicast"),
        ("4000::1", "reserved"),
        ("5f00::1", "reserved"),
        ("c000::1", "reserved"),
    ],
)
def test_a_special_address_has_its_kind(address: str, kind: str) -> None:
    special = special_network(canonical_address(ip_address(address)))

    assert special is not None
    assert kind in special.kind


@pytest.mark.parametrize(
    "address",
    ["1.1.1.1", "8.8.8.8", "172.32.0.1", "100.128.0.1", "192.0.1.1", "223.255.255.255", "2606:4700::1", "64:ff9b::8.8.8.8", "2600::1"],
)
def test_an_address_of_the_internet_is_not_special(address: str) -> None:
    assert special_network(canonical_address(ip_address(address))) is None


@given(st.integers(0, 2**32 - 1).map(IPv4Address))
def test_what_the_standard_library_calls_not_global_is_special(address: IPv4Address) -> None:
    special = special_network(address)

    assert special is not None or (address.is_global and not address.is_multicast)


@given(st.integers(0, 2**32 - 1).map(IPv4Address))
def test_an_embedded_address_is_judged_like_the_address_itself(address: IPv4Address) -> None:
    special = special_network(address)
    kind = None if special is None else special.kind

    assert canonical_address(IPv6Address(0xFFFF << 32 | int(address))) == address
    behind_nat64 = IPv6Address(int(IPv6Address("64:ff9b::")) | int(address))
    found = special_network(behind_nat64)
    assert (None if found is None else found.kind) == kind
    assert found is None or behind_nat64 in found.network
    assert embedded_ipv4(behind_nat64) == address


@given(st.integers(0, 2**128 - 1).map(IPv6Address))
def test_an_address_is_in_the_network_that_makes_it_special(address: IPv6Address) -> None:
    canonical = canonical_address(address)
    special = special_network(canonical)

    assert special is None or canonical in special.network
    assert (
        special is not None
        or isinstance(canonical, IPv4Address)
        or canonical in ip_network("2000::/3")
        or canonical in ip_network("64:ff9b::/96")
    )


def test_a_zone_does_not_change_the_judgement() -> None:
    canonical = canonical_address(ip_address("fe80::1%eth0"))

    assert canonical == ip_address("fe80::1")


def test_metadata_services_are_networks_of_their_own() -> None:
    special = special_network(IPv4Address("169.254.169.254"))

    assert special is not None
    assert special == (ip_network("169.254.169.254/32"), METADATA)


def test_only_numeric_hosts_are_read_as_addresses() -> None:
    assert read_address("::ffff:10.0.0.1") == ip_address("10.0.0.1")
    assert read_address("a.example") is None
    assert read_address("127.1") is None
