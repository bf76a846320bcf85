"""The TLS context of an HTTPS proxy, from PEM files or a PKCS #12 file."""

import os
import ssl
from collections.abc import Mapping
from pathlib import Path

from portway.errors import ConfigError
from portway.forward.settings import ForwardSettings

PASSWORD_VARIABLE = "PORTWAY_TLS_PASSWORD"  # noqa: S105 - the variable's name
"""Password of the PKCS #12 file, if there is no file with it."""


def tls_context(settings: ForwardSettings, environ: Mapping[str, str] = os.environ) -> ssl.SSLContext | None:
    """Return the context, None for a proxy without TLS.

    Raises:
        ConfigError: a file cannot be read, or certificate and key do not match.
    """
    if settings.tls_cert is None and settings.tls_pkcs12 is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    context.num_tickets = 1
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    context.options &= ~getattr(ssl, "OP_IGNORE_UNEXPECTED_EOF", 0)
    if settings.tls_cert is not None:
        try:
            # Without a password OpenSSL would prompt on the terminal for that of an encrypted key, and wait.
            context.load_cert_chain(settings.tls_cert, settings.tls_key, password="")
        except (OSError, ssl.SSLError) as exc:
            raise ConfigError(f"tls_cert, tls_key: {settings.tls_cert} and {settings.tls_key} cannot be used: {exc}") from exc
    elif settings.tls_pkcs12 is not None:
        _load_pkcs12(context, settings.tls_pkcs12, settings.tls_password_file, environ.get(PASSWORD_VARIABLE))
    return context


def _load_pkcs12(context: ssl.SSLContext, path: Path, password_file: Path | None, password: str | None) -> None:
    try:
        from portway.forward.pkcs12 import load_pkcs12  # noqa: PLC0415 - needs cryptography, which other proxies do not
    except ImportError as exc:
        raise ConfigError("tls_pkcs12: requires the package cryptography: pip install 'portway[server]'") from exc
    load_pkcs12(context, path, password_file, password)
