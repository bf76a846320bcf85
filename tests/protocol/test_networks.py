"""Networks and their members."""

import pytest

from portway.errors import ConfigError
from portway.protocol.networks import NETWORKS_MAX, Networks, plain_address, read_networks


@pytest.mark.parametrize(
    ("text", "networks"),
    [
        ("10.0.0.0/8", ("10.0.0.0/8",)),
        ("192.0.2.7, ::1", ("192.0.2.7/32", "::1/128")),
        ("2001:DB8::/32,127.0.0.1/32", ("2001:db8::/32", "127.0.0.1/32")),
        ("0.0.0.0/0", ("0.0.0.0/0",)),
    ],
)
def test_networks_are_read(text: str, networks: tuple[str, ...]) -> None:
    assert read_networks(text) == networks


@pytest.mark.parametrize(
    "text", ["", "10.0.0.1/8", "10.0.0.0/33", "localhost", "10.0.0.0/8,", "10.0.0.0/8 ::1", ",".join(["10.0.0.1"] * (NETWORKS_MAX + 1))]
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="expected"):
        read_networks(text)


@pytest.mark.parametrize(
    ("host", "inside"),
    [
        ("10.1.2.3", True),
        ("::ffff:10.1.2.3", True),
        ("11.0.0.0", False),
        ("2001:db8::5", True),
        ("fe80::1%eth0", True),
        ("2001:db9::5", False),
        ("unix:/run/x", False),
        ("", False),
        ("10.1.2.3:80", False),
    ],
)
def test_a_numeric_host_is_in_a_network_or_not(host: str, inside: bool) -> None:
    networks = Networks(read_networks("10.0.0.0/8, 2001:db8::/32, fe80::/10"))
    assert (host in networks) is inside
    assert host not in Networks(())
    assert networks
    assert not Networks(())


def test_nothing_but_text_is_in_a_network() -> None:
    assert 10 not in Networks(("0.0.0.0/0",))


def test_an_address_has_one_form() -> None:
    assert str(plain_address("::ffff:192.0.2.1")) == "192.0.2.1"
    assert str(plain_address("fe80::1%eth0")) == "fe80::1"
    assert plain_address("example.org") is None
