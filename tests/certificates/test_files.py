"""Directories of PEM files: any names, keys and chains in files of their own, and faults with reasons."""

import os
import ssl
import subprocess
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from portway.certificates import files
from portway.certificates.files import CertificateDirectory, Loaded
from portway.errors import ConfigError
from tests.certificates.kit import bundle, installed
from tests.kit.certificates import Identity, make_identity


@pytest.fixture
def made(tmp_path: Path) -> Path:
    folder = tmp_path / "made"
    folder.mkdir()
    return folder


@pytest.fixture
def served(tmp_path: Path) -> Path:
    folder = tmp_path / "certificates"
    folder.mkdir()
    return folder


def private(path: Path, content: bytes) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    path.chmod(0o600)
    return path


def load(folder: Path) -> Loaded:
    directory = CertificateDirectory(folder)
    return directory.load(directory.stamps())


def authorities(folder: Path) -> tuple[Identity, Identity]:
    """Return a root and an intermediate that it signed."""
    root = make_identity(folder, "Example Root", authority=True)
    return root, make_identity(folder, "Example Intermediate", signed_by=root, authority=True)


def subjects(pem: bytes) -> list[str]:
    return [one.subject.rfc4514_string() for one in x509.load_pem_x509_certificates(pem)]


def test_key_and_chain_may_be_one_file_or_two_of_any_names(made: Path, served: Path) -> None:
    one, two = make_identity(made, "one.example.org"), make_identity(made, "two.example.org")
    private(served / "one", bundle(one))
    private(served / "b.txt", two.key_file.read_bytes())
    private(served / "a", two.cert_file.read_bytes())

    found = load(served)

    assert {label: certificate.names for label, certificate in found.certificates.items()} == {
        "one": ("one.example.org",),
        "a": ("two.example.org",),
    }
    assert found.faults == {}


def test_a_chain_is_put_in_order_without_its_root(made: Path, served: Path) -> None:
    root, intermediate = authorities(made)
    site = make_identity(made, "app.example.org", signed_by=intermediate)
    pems = [root.cert_file, site.key_file, intermediate.cert_file, site.cert_file]
    private(served / "all.pem", b"".join(path.read_bytes() for path in pems))

    (found,) = load(served).certificates.values()

    assert subjects(found.pem) == ["CN=app.example.org", "CN=Example Intermediate"]


def test_the_files_of_certbot_are_one_certificate_with_its_chain(made: Path, served: Path) -> None:
    """live/NAME/ has links to archive/NAME/, the leaf twice, and a README beside the folders."""
    _, intermediate = authorities(made)
    site = make_identity(made, "app.example.org", signed_by=intermediate)
    archive = made / "archive"
    leaf, chain = site.cert_file.read_bytes(), intermediate.cert_file.read_bytes()
    for name, content in (("cert", leaf), ("chain", chain), ("fullchain", leaf + chain), ("privkey", site.key_file.read_bytes())):
        private(archive / f"{name}1.pem", content)
        (served / "app.example.org").mkdir(exist_ok=True)
        (served / "app.example.org" / f"{name}.pem").symlink_to(archive / f"{name}1.pem")
    (served / "README").write_text("This directory contains your keys and certificates.")

    found = load(served)

    assert found.faults == {}
    (certificate,) = found.certificates.values()
    assert subjects(certificate.pem) == ["CN=app.example.org", "CN=Example Intermediate"]


def test_the_chain_of_a_renewed_authority_is_found_by_its_signature(made: Path, served: Path) -> None:
    """Both intermediates have the same name."""
    _, older = authorities(made)
    _, newer = authorities(made)
    site = make_identity(made, "app.example.org", signed_by=newer)
    private(served / "site.pem", bundle(site) + older.cert_file.read_bytes() + newer.cert_file.read_bytes())

    (found,) = load(served).certificates.values()

    assert x509.load_pem_x509_certificates(found.pem) == [site.certificate, newer.certificate]


def test_the_longest_chain_of_a_certificate_is_served(made: Path, served: Path) -> None:
    _, intermediate = authorities(made)
    site = make_identity(made, "app.example.org", signed_by=intermediate)
    private(served / "bare" / "site.pem", bundle(site))
    private(served / "full" / "site.pem", site.cert_file.read_bytes() + intermediate.cert_file.read_bytes())

    assert [subjects(one.pem) for one in load(served).certificates.values()] == [["CN=app.example.org", "CN=Example Intermediate"]]


def test_a_private_authority_beside_its_certificates_is_not_served(made: Path, served: Path) -> None:
    root, intermediate = authorities(made)
    site = make_identity(made, "app.example.org", signed_by=root)
    private(served / "site.pem", bundle(site))
    private(served / "root.pem", bundle(root))
    private(served / "intermediate.crt", intermediate.cert_file.read_bytes())

    found = load(served)

    assert list(found.certificates) == ["site.pem"]
    assert found.faults == {}


def test_every_unusable_file_is_reported_with_its_reason(made: Path, served: Path) -> None:
    site, other = make_identity(made, "app.example.org"), make_identity(made, "other.example.org")
    address = make_identity(made, "127.0.0.1")
    encrypted = other.key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"secret")
    )
    private(served / "address.pem", bundle(address))
    private(served / "alone.crt", other.cert_file.read_bytes())
    private(served / "cut.pem", bundle(site)[:-40])
    private(served / "damaged.pem", bundle(site).replace(b"M", b"N", 40))
    private(served / "empty.pem", b"")
    private(served / "encrypted.key", encrypted)
    private(served / "open.pem", bundle(site)).chmod(0o604)
    private(served / "large.pem", bundle(site) + b" " * files.FILE_BYTES_MAX)
    private(served / "notes.txt", b"anything")
    private(served / ".draft.pem", b"anything")

    found = load(served)

    assert found.certificates == {}
    for name, reason in (
        ("address.pem", "no host name"),
        ("alone.crt", "no file has the key"),
        ("cut.pem", "END is missing"),
        ("damaged.pem", "damaged or unsupported key"),
        ("empty.pem", "no PEM"),
        ("encrypted.key", "encrypted"),
        ("open.pem", f"chmod o-rwx {served / 'open.pem'}"),
        ("large.pem", "too large"),
    ):
        assert reason in found.faults.pop(name)
    assert found.faults == {}


def test_a_directory_that_cannot_be_read_is_an_error(made: Path, served: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"missing: cannot be read: No such file"):
        load(made / "missing")
    with pytest.raises(ConfigError, match=r"cannot be read: Not a directory"):
        load(private(made / "file", b""))
    monkeypatch.setattr(files, "FILES_MAX", 1)
    private(served / "one", b"")
    private(served / "two", b"")
    with pytest.raises(ConfigError, match=r"more than 1 files"):
        load(served)


def test_too_many_certificates_are_a_fault_of_the_first_that_is_left_out(made: Path, served: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "CERTIFICATES_MAX", 2)
    for number in range(4):
        private(served / f"{number}.pem", bundle(make_identity(made, f"{number}.example.org")))

    found = load(served)

    assert list(found.certificates) == ["0.pem", "1.pem"]
    assert list(found.faults) == ["2.pem"]


def test_unchanged_files_are_read_once_unless_asked(made: Path, served: Path) -> None:
    path = private(served / "site.pem", bundle(make_identity(made, "one.example.org")))
    directory = CertificateDirectory(served)
    stamps = directory.stamps()
    directory.load(stamps)
    path.unlink()

    assert list(directory.load(stamps).certificates) == ["site.pem"]
    assert list(directory.load(stamps, again=True).faults) == ["site.pem"]


def test_every_way_to_replace_a_file_changes_its_stamp(made: Path, served: Path) -> None:
    path = private(served / "site.pem", bundle(make_identity(made, "one.example.org")))
    directory, content = CertificateDirectory(served), path.read_bytes()
    seen = [directory.stamps()]

    first = path.stat()
    private(served / "new", content).rename(path)  # the same content, size and time
    os.utime(path, ns=(first.st_atime_ns, first.st_mtime_ns))
    seen.append(directory.stamps())
    path.write_bytes(content + b"\n")
    seen.append(directory.stamps())
    os.utime(path, ns=(1, 1))
    seen.append(directory.stamps())
    path.unlink()
    seen.append(directory.stamps())

    assert all(one != other for number, one in enumerate(seen) for other in seen[:number])


def test_folders_below_the_third_level_are_not_searched(made: Path, served: Path) -> None:
    content = bundle(make_identity(made, "one.example.org"))
    deep = served
    for level in range(4):
        private(deep / f"{level}.txt", content)
        deep /= "folder"
        deep.mkdir()

    assert {path.name for path in CertificateDirectory(served).stamps()} == {"0.txt", "1.txt", "2.txt"}


def test_a_certificate_that_cannot_be_understood_is_a_fault_of_its_file(made: Path, served: Path) -> None:
    """A curve that is not supported, and an extension that is there twice; both are valid PEM."""
    site = make_identity(made, "app.example.org")
    private(served / "site.pem", bundle(site))
    where = ("-keyout", made / "odd.key", "-out", served / "odd.pem", "-days", "5", "-subj", "/CN=odd.example.org")
    kind = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:secp160k1", "-nodes", "-addext", "subjectAltName=DNS:odd.example.org")
    subprocess.run([installed("openssl"), "req", "-x509", *kind, *where], check=True, capture_output=True)
    der, purpose, limits = site.der, bytes.fromhex("0603551d11"), bytes.fromhex("0603551d13")
    twice = der.replace(limits, purpose)  # the object identifier of basicConstraints becomes that of subjectAltName
    assert twice != der
    private(served / "twice.pem", ssl.DER_cert_to_PEM_cert(twice).encode())

    found = load(served)

    assert list(found.certificates) == ["site.pem"]
    assert found.faults.keys() == {"odd.pem", "twice.pem"}
