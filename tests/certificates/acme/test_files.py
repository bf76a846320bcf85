"""ACME's files in the data directory."""

import stat
from pathlib import Path

import pytest

from portway.certificates.acme.files import FAILURES_MAX, OLD_S, Account, AcmeFiles, Failure, PendingOrder, order_name
from portway.certificates.acme.pem import challenge_pem
from portway.certificates.certificate import parse_bundle
from portway.errors import ConfigError

CA = "https://ca.example.org/directory"


def test_the_account_key_is_created_once_for_each_ca_and_private(tmp_path: Path) -> None:
    files = AcmeFiles.for_ca(tmp_path, CA)

    key = files.account_key()

    assert AcmeFiles.for_ca(tmp_path, CA).account_key() == key
    assert AcmeFiles.for_ca(tmp_path, CA + "/staging").account_key() != key
    assert {stat.S_IMODE(path.stat().st_mode) for path in files.folder.glob("*.key")} == {0o600}


def test_a_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    files = AcmeFiles.for_ca(tmp_path, CA)
    files.account_key()
    [path] = files.folder.glob("*.key")
    path.chmod(0o644)

    with pytest.raises(ConfigError, match="chmod 600"):
        files.account_key()


def test_the_account_is_that_of_the_directory_and_a_damaged_one_is_found_again_by_its_key(tmp_path: Path) -> None:
    files, account = AcmeFiles.for_ca(tmp_path, CA), Account("https://ca.example.org/acct/1", CA, "me@example.org")
    assert files.account() is None
    files.save_account(account)

    assert files.account() == account
    assert AcmeFiles.for_ca(tmp_path, CA + "/staging").account() is None
    path = files.folder / "account.json"
    path.write_bytes(b"{")
    assert files.account() is None


@pytest.mark.parametrize("name", ["app.example.org", "*.example.org", "a" * 63 + ("." + "b" * 62) * 3])
def test_certificates_are_saved_by_name_and_forget_their_order(tmp_path: Path, name: str) -> None:
    files, issued = AcmeFiles.for_ca(tmp_path, CA), parse_bundle(challenge_pem(name, "x"))
    order = PendingOrder("https://ca.example.org/order/1", (name,), "key")
    files.save_order(name, order)
    assert files.order(name) == order

    files.save_certificate(name, issued)

    assert [one for _, one in files.certificates()] == [issued]
    assert order_name(issued.names) == name
    assert files.order(name) is None


def test_a_damaged_certificate_or_order_does_not_hide_the_others(tmp_path: Path) -> None:
    files = AcmeFiles.for_ca(tmp_path, CA)
    for name in ("a.example.org", "b.example.org"):
        files.save_certificate(name, parse_bundle(challenge_pem(name, "x")))
    files.save_order("a.example.org", PendingOrder("https://ca.example.org/order/1", ("a.example.org",), "key"))
    (files.folder / "certificates" / "a.example.org.pem").write_bytes(b"-----BEGIN")
    (files.folder / "orders" / "a.example.org.json").write_bytes(b"[")

    assert [issued.names[0] for _, issued in files.certificates()] == ["b.example.org"]
    assert files.order("a.example.org") is None


def test_failures_survive_and_are_bounded(tmp_path: Path) -> None:
    files = AcmeFiles.for_ca(tmp_path, CA)
    assert files.failures() == []
    many = [Failure("x" * 250, 3, float(number), "long " * 100) for number in range(2 * FAILURES_MAX)]

    files.save_failures(many)

    saved = files.failures()
    assert [one.not_before for one in saved] == [float(number) for number in range(FAILURES_MAX, 2 * FAILURES_MAX)]
    (files.folder / "failures.json").write_bytes(b"{")
    assert files.failures() == []


def test_a_certificate_that_expired_long_ago_is_removed(tmp_path: Path) -> None:
    files, issued = AcmeFiles.for_ca(tmp_path, CA), parse_bundle(challenge_pem("app.example.org", "x"))
    files.save_certificate("app.example.org", issued)

    files.remove_old(issued.not_after + OLD_S)
    assert [one for _, one in files.certificates()] == [issued]
    files.remove_old(issued.not_after + OLD_S + 1)
    assert list(files.certificates()) == []


def test_nothing_of_one_ca_is_used_with_another(tmp_path: Path) -> None:
    staging, real = (AcmeFiles.for_ca(tmp_path, f"https://{name}.example.org/dir") for name in ("staging", "real"))
    staging.save_certificate("app.example.org", parse_bundle(challenge_pem("app.example.org", "x")))

    assert list(real.certificates()) == []
    assert [files.folder for files in AcmeFiles.of_all(tmp_path)] == [staging.folder]
    assert staging.folder.name.startswith("staging.example.org-")
    assert AcmeFiles.of_all(tmp_path / "missing") == []
    assert len(AcmeFiles.for_ca(tmp_path, f"https://{'a' * 300}/").folder.name) < 255
    assert "/" not in AcmeFiles.for_ca(tmp_path, "https://[::1]:14000/dir").folder.name
