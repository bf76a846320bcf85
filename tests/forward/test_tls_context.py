"""The certificate of an HTTPS proxy."""

import ssl
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, load_pem_private_key
from cryptography.hazmat.primitives.serialization.pkcs12 import serialize_key_and_certificates
from cryptography.x509 import load_pem_x509_certificate

from portway.errors import ConfigError
from portway.forward.settings import ForwardSettings
from portway.forward.tls_context import PASSWORD_VARIABLE, tls_context
from tests.forward.stage import Stage
from tests.kit.certificates import Identity, client_context, make_identity
from tests.kit.origins import RawOrigin, echo


@pytest.fixture
def identity(tmp_path: Path) -> Identity:
    return make_identity(tmp_path, "localhost")


@pytest.fixture
def bundle(tmp_path: Path, identity: Identity) -> Path:
    """A PKCS #12 file with the password `pass`."""
    key = load_pem_private_key(Path(identity.key_file).read_bytes(), None)
    certificate = load_pem_x509_certificate(Path(identity.cert_file).read_bytes())
    path = tmp_path / "bundle.pfx"
    path.write_bytes(serialize_key_and_certificates(b"proxy", key, certificate, None, BestAvailableEncryption(b"pass")))  # type: ignore[arg-type]
    return path


def test_without_a_certificate_there_is_no_tls() -> None:
    assert tls_context(ForwardSettings(), {}) is None


@pytest.mark.parametrize("form", ["pem", "pkcs12"])
def test_clients_speak_to_the_proxy_over_tls(identity: Identity, bundle: Path, tmp_path: Path, form: str) -> None:
    (tmp_path / "password").touch(mode=0o600)
    (tmp_path / "password").write_text("pass\n")
    settings = (
        ForwardSettings(tls_cert=Path(identity.cert_file), tls_key=Path(identity.key_file))
        if form == "pem"
        else ForwardSettings(tls_pkcs12=bundle, tls_password_file=tmp_path / "password")
    )
    with (
        RawOrigin(echo) as origin,
        Stage(tls=tls_context(settings, {})) as stage,
        stage.dial() as sock,
        client_context(identity).wrap_socket(sock, server_hostname="localhost") as tls,
    ):
        tls.sendall(f"CONNECT here.test:{origin.port} HTTP/1.1\r\n\r\nhello".encode())
        data = b""
        while not data.endswith(b"hello"):
            data += tls.recv(1000)
        assert data == b"HTTP/1.1 200 Connection established\r\n\r\nhello"


def test_the_password_may_come_from_the_environment(bundle: Path) -> None:
    assert isinstance(tls_context(ForwardSettings(tls_pkcs12=bundle), {PASSWORD_VARIABLE: "pass"}), ssl.SSLContext)


def test_errors_name_the_setting_and_what_to_do(bundle: Path, identity: Identity, tmp_path: Path) -> None:
    settings = ForwardSettings(tls_pkcs12=bundle)
    with pytest.raises(ConfigError, match="give its password with --tls-password-file or PORTWAY_TLS_PASSWORD"):
        tls_context(settings, {})
    with pytest.raises(ConfigError, match="is the password right"):
        tls_context(settings, {PASSWORD_VARIABLE: "wrong"})
    with pytest.raises(ConfigError, match="tls_pkcs12: .*missing.pfx: cannot be read"):
        tls_context(replace(settings, tls_pkcs12=tmp_path / "missing.pfx"), {})
    with pytest.raises(ConfigError, match="tls_password_file: .*none: no such file"):
        tls_context(replace(settings, tls_password_file=tmp_path / "none"), {})
    with pytest.raises(ConfigError, match="tls_cert, tls_key: .* cannot be used"):
        tls_context(ForwardSettings(tls_cert=Path(identity.key_file), tls_key=Path(identity.key_file)), {})
