"""Names, issuer and dates of certificates, read from PEM."""

from pathlib import Path

import pytest

from portway.certificates.certificate import host_names, parse_bundle
from portway.errors import ConfigError
from tests.certificates.kit import bundle
from tests.kit.certificates import make_identity


def test_a_bundle_has_names_issuer_and_dates(tmp_path: Path) -> None:
    authority = make_identity(tmp_path, "Example CA", authority=True)
    site = make_identity(tmp_path, "App.Example.org", "*.Example.org", "127.0.0.1", signed_by=authority, days=7)

    found = parse_bundle(site.cert_file.read_bytes() + site.key_file.read_bytes())

    assert found.names == ("app.example.org", "*.example.org")
    assert found.issuer == "Example CA"
    assert found.not_after - found.not_before == pytest.approx(8 * 86_400)
    assert found.is_valid(found.not_before)
    assert not found.is_valid(found.not_before - 1)
    assert not found.is_valid(found.not_after)


def test_the_key_is_not_in_its_repr(tmp_path: Path) -> None:
    assert "PRIVATE" not in repr(parse_bundle(bundle(make_identity(tmp_path, "app.example.org"))))


def test_only_host_names_and_whole_labels_as_wildcards_count(tmp_path: Path) -> None:
    site = make_identity(
        tmp_path, "a.example.org", "f*.example.org", "*", "a.*.org", "*.*.org", "b.example.org.", "c.example.org:443", "a.example.org"
    )

    assert host_names(site.certificate) == ("a.example.org", "b.example.org")


def test_a_damaged_bundle_is_refused_with_a_reason(tmp_path: Path) -> None:
    site, other = make_identity(tmp_path, "app.example.org"), make_identity(tmp_path, "127.0.0.1")
    for pem, reason in (
        (b"", "invalid PEM"),
        (site.cert_file.read_bytes(), "invalid PEM"),
        (other.key_file.read_bytes() + site.cert_file.read_bytes(), "not that of the first certificate"),
        (bundle(other), "no host name"),
    ):
        with pytest.raises(ConfigError, match=reason):
            parse_bundle(pem)
