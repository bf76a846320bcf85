"""Which certificate serves a name, and when its context is replaced."""

from pathlib import Path

from portway.certificates.certificate import Certificate, parse_bundle
from portway.certificates.contexts import CONTEXT_S_MAX
from portway.certificates.served import NameTable, ServedCertificate, join_types
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


def typed(pem: bytes, key_type: str, end: float, *names: str) -> ServedCertificate:
    return ServedCertificate(Certificate(names, "CA", 0, end, pem, key_type), NOW)


def test_certificates_of_two_key_types_share_a_context_while_both_are_valid(tmp_path: Path) -> None:
    new = bundle(make_identity(tmp_path, "app.example.org"))
    old = bundle(make_identity(tmp_path, "app.example.org", rsa_bits=2048))
    short, longer, rsa = (typed(new, "ec", 1500, "a", "b"), typed(new, "ec", 2000, "a", "b"), typed(old, "rsa", 3000, "b", "a"))
    alone, other = typed(old, "rsa", 3000, "a"), typed(new, "", 3000, "a", "b")
    join_types([short, longer, rsa, alone, other])

    assert rsa.context_at(NOW).pems == (old, new)
    assert short.context_at(NOW).pems == longer.context_at(NOW).pems == (new, old)
    assert rsa.context_at(2000) is rsa.context
    assert longer.context_at(3000) is longer.context
    assert alone.context_at(NOW) is alone.context
    assert other.context_at(NOW) is other.context
    before = rsa.context_at(NOW)
    join_types([longer, rsa])
    assert rsa.context_at(NOW) is before, "nothing changed"
    rsa.renew_context(NOW)
    assert rsa.context_at(NOW) is not before
    join_types([rsa])
    assert rsa.context_at(NOW) is rsa.context
