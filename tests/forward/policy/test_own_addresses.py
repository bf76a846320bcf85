import socket
from ipaddress import ip_address

from portway.forward.policy.own_addresses import is_own_address


def test_loopback_addresses_are_own() -> None:
    assert is_own_address(ip_address("127.0.0.1"))


def test_an_address_of_an_interface_is_own() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
            own = probe.getsockname()[0]
        except OSError:  # a machine without any network has loopback alone
            own = "127.0.0.1"

    assert is_own_address(ip_address(own))


def test_other_addresses_are_not_own() -> None:
    assert not is_own_address(ip_address("192.0.2.1"))
    assert not is_own_address(ip_address("2001:db8::1"))
    assert not is_own_address(ip_address("255.255.255.255"))
