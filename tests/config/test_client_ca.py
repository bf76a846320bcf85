"""CAs of client certificates: only certificates, of CAs, undamaged."""

from pathlib import Path

import pytest

from portway.config.client_ca import check_client_ca
from portway.errors import ConfigError
from tests.kit.certificates import Identity, make_identity


@pytest.fixture
def authority(tmp_path: Path) -> Identity:
    return make_identity(tmp_path, "a CA", authority=True)


def test_several_cas_are_accepted(authority: Identity, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = make_identity(tmp_path / "other", "another CA", authority=True)
    check_client_ca(authority.cert_file.read_text() + other.cert_file.read_text())


def test_a_client_ca_is_certificates_of_cas_and_nothing_else(authority: Identity, identity: Identity) -> None:
    pem, key = authority.cert_file.read_text(), authority.key_file.read_text()
    for text, reason in (
        ("# nothing", "no certificate"),
        (key, "private key"),
        (pem + key, "private key"),
        (pem[:200], "no certificate"),
        (pem.replace("M", "N", 3), "damaged"),
        (identity.cert_file.read_text(), "of a CA"),
    ):
        with pytest.raises(ConfigError, match=reason):
            check_client_ca(text)
