import socket
from ipaddress import ip_address

import pytest

from portway.forward.policy import own_addresses
from portway.forward.policy.addresses import Address
from portway.forward.policy.own_addresses import REMEMBERED_S, OwnAddresses, is_own_address


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


def test_answers_are_remembered_for_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Address] = []
    now = 0.0

    def ask(address: Address) -> bool:
        asked.append(address)
        return len(asked) > 1

    monkeypatch.setattr(own_addresses, "is_own_address", ask)
    own = OwnAddresses(lambda: now)
    address = ip_address("192.0.2.1")

    assert [own(address), own(address)] == [False, False]
    now = REMEMBERED_S
    assert own(address), "the interface got this address"
    assert len(asked) == 2


def test_the_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_addresses, "REMEMBERED_MAX", 3)
    own = OwnAddresses()
    for number in range(10):
        own(ip_address(f"192.0.2.{number}"))

    assert len(own._known) <= 3
