"""Settings of automatic certificates."""

from pathlib import Path
from typing import Any

import pytest

from portway.certificates.acme.settings import LETS_ENCRYPT, AcmeSettings
from portway.config.fields import settings_of
from portway.config.values import ListenAddress
from portway.errors import ConfigError

READERS = {key: one.read for key, one in settings_of(AcmeSettings).items()}


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("acme_email", "me@example.org", "me@example.org"),
        ("acme_directory", "https://127.0.0.1:14000/dir", "https://127.0.0.1:14000/dir"),
        ("acme_dns_server", "ns1.example.org", ListenAddress("ns1.example.org", 53)),
        ("acme_dns_server", "[::1]:5353", ListenAddress("::1", 5353)),
        ("acme_dns_hook", "/opt/hook", Path("/opt/hook")),
        ("acme_random", "yes", True),
    ],
)
def test_values_are_read(key: str, text: str, value: object) -> None:
    assert READERS[key](text) == value


@pytest.mark.parametrize(
    ("key", "text", "expected"),
    [
        ("acme_email", "me", "an address like me@example.org"),
        ("acme_email", "a@b.org,c@d.org", "an address like me@example.org"),
        ("acme_directory", "http://ca.example.org/directory", "the URL of an ACME directory"),
        ("acme_directory", "https://user@ca.example.org/", "the URL of an ACME directory"),
        ("acme_dns_server", ":53", "the host and port of a DNS server"),
        ("acme_dns_server", "ns1:99999", "expected an address"),
        ("acme_ca", "", "expected a path"),
    ],
)
def test_other_values_are_errors(key: str, text: str, expected: str) -> None:
    with pytest.raises(ConfigError, match=expected):
        READERS[key](text)


@pytest.mark.parametrize(
    ("values", "error"),
    [
        ({"acme_random": True}, "acme_random: requires --acme-email"),
        ({"acme_directory": "https://ca.example.org/"}, "acme_directory: requires --acme-email"),
        ({"acme_eab": Path("x"), "acme_ca": Path("y")}, "acme_ca: requires --acme-email"),
        ({"acme_email": "a@b.org", "acme_dns_key": Path("x")}, "expected both or neither"),
        ({"acme_email": "a@b.org", "acme_dns_server": ListenAddress("a", 53)}, "expected both or neither"),
        (
            {"acme_email": "a@b.org", "acme_dns_server": ListenAddress("a", 53), "acme_dns_key": Path("x"), "acme_dns_hook": Path("y")},
            "expected one of both",
        ),
    ],
)
def test_settings_that_contradict_each_other(values: dict[str, Any], error: str) -> None:
    with pytest.raises(ConfigError, match=error):
        AcmeSettings(**values).check_acme(is_local=False, has_https=True)


def test_a_local_domain_has_no_certificates_from_a_ca() -> None:
    AcmeSettings().check_acme(is_local=True, has_https=True)
    with pytest.raises(ConfigError, match="acme_email: requires a domain that the CA can resolve; give one with --domain"):
        AcmeSettings(acme_email="me@example.org").check_acme(is_local=True, has_https=True)


def test_a_server_without_https_orders_nothing() -> None:
    with pytest.raises(ConfigError, match="acme_email, https: off leaves no port for certificates"):
        AcmeSettings(acme_email="me@example.org").check_acme(is_local=False, has_https=False)


def test_the_default_ca() -> None:
    assert AcmeSettings().acme_directory == LETS_ENCRYPT
    AcmeSettings(acme_email="me@example.org").check_acme(is_local=False, has_https=True)
