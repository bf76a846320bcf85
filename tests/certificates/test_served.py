"""Which certificate serves a name, and when its context is replaced."""

from pathlib import Path

from portway.certificates.certificate import Certificate, parse_bundle
from portway.certificates.contexts import CONTEXT_S_MAX
from portway.certificates.served import NameTable, ServedCertificate
from tests.certificates.kit import bundle
from tests.kit.certificates import make_identity

NOW = 1000.0


def table(folder: Path, *certificates: tuple[str, float, float, tuple[str, ...]]) -> tuple[NameTable, dict[str, ServedCertificate]]:
    """Return a table of certificates given by label, begin, end and names."""
    pem = bundle(make_identity(folder, "app.example.org"))
    served = {label: ServedCertificate(Certificate(names, "CA", begin, end, pem), NOW) for label, begin, end, names in certificates}
    return NameTable(served.values()), served


def test_a_wildcard_stands_for_exactly_one_label(tmp_path: Path) -> None:
    found, served = table(tmp_path, ("wild", 0, 2000, ("*.example.org",)))

    assert found.find("app.example.org", NOW) is served["wild"]
    for name in ("example.org", "a.b.example.org", "org", "", ".example.org.evil", "*.b.example.org"):
        assert found.find(name, NOW) is None


def test_the_most_specific_name_then_the_longest_life_comes_first(tmp_path: Path) -> None:
    found, served = table(
        tmp_path,
        ("wild", 0, 9000, ("*.example.org",)),
        ("short", 0, 2000, ("app.example.org",)),
        ("long", 0, 3000, ("app.example.org",)),
        ("future", 1001, 9000, ("app.example.org",)),
    )

    assert found.find("app.example.org", NOW) is served["long"]
    assert found.find("other.example.org", NOW) is served["wild"]
    assert found.find("app.example.org", NOW + 1) is served["future"]


def test_a_valid_certificate_comes_before_an_expired_one_also_when_it_expires_later(tmp_path: Path) -> None:
    found, served = table(tmp_path, ("exact", 0, 1500, ("app.example.org",)), ("wild", 0, 1800, ("*.example.org",)))

    assert found.find("app.example.org", NOW) is served["exact"]
    assert found.find("app.example.org", 1500) is served["wild"]
    assert found.find("app.example.org", 1800) is served["exact"]
    assert found.has_valid("app.example.org", 1799)
    assert not found.has_valid("app.example.org", 1800)
    assert not found.has_valid("example.org", NOW)
    assert found.context_for("app.example.org", 1800) is served["exact"].context
    assert found.context_for("example.org", NOW) is None


def test_a_context_is_replaced_after_a_day_and_when_the_clock_went_back(tmp_path: Path) -> None:
    one = ServedCertificate(parse_bundle(bundle(make_identity(tmp_path, "app.example.org"))), NOW)
    before = one.context

    assert not one.is_worn(NOW + CONTEXT_S_MAX - 1)
    assert one.is_worn(NOW + CONTEXT_S_MAX)
    assert one.is_worn(NOW - CONTEXT_S_MAX)
    one.renew_context(NOW + CONTEXT_S_MAX)
    assert one.context is not before
    assert not one.is_worn(NOW + CONTEXT_S_MAX)
