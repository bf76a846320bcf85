"""Loads chain and key of a PKCS #12 file, which the ssl module cannot read."""

import os
import ssl
import tempfile
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.hazmat.primitives.serialization.pkcs12 import load_pkcs12 as parse

from portway.config.files import read_secret
from portway.errors import ConfigError


def load_pkcs12(context: ssl.SSLContext, path: Path, password_file: Path | None, password: str | None) -> None:
    """Load the file at `path` into `context`; `password` is used if there is no password file.

    Raises:
        ConfigError: the file is missing, damaged or without a key, or the password is wrong.
    """
    if password_file is not None:
        secret = read_secret(password_file, follow=True)
        if secret is None:
            raise ConfigError(f"tls_password_file: {password_file}: no such file")
        password = secret.decode("utf-8", "replace").splitlines()[0] if secret.strip() else ""
    try:
        bundle = parse(path.read_bytes(), None if password is None else password.encode())
    except OSError as exc:
        raise ConfigError(f"tls_pkcs12: {path}: cannot be read: {exc.strerror}") from exc
    except ValueError as exc:
        hint = "give its password with --tls-password-file or PORTWAY_TLS_PASSWORD" if password is None else "is the password right?"
        raise ConfigError(f"tls_pkcs12: {path}: not a PKCS #12 file, or another password; {hint}") from exc
    if bundle.key is None or bundle.cert is None:
        raise ConfigError(f"tls_pkcs12: {path}: has no key or no certificate: expected both")
    key = bundle.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    chain = [bundle.cert, *bundle.additional_certs]
    pem = key + b"".join(one.certificate.public_bytes(Encoding.PEM) for one in chain)
    with tempfile.TemporaryDirectory(prefix="portway-") as folder:  # mode 0700; the ssl module reads files only
        file = Path(folder, "pem")
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT, 0o600), "wb") as written:
            written.write(pem)
        try:
            context.load_cert_chain(file)
        except ssl.SSLError as exc:
            raise ConfigError(f"tls_pkcs12: {path}: certificate and key do not match: {exc}") from exc
