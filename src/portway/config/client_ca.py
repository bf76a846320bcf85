"""Checks the certificates of CAs that sign client certificates."""

import ssl

from portway.errors import ConfigError


def check_client_ca(pem: str) -> None:
    """Check that `pem` contains certificates of CAs, and nothing that is secret.

    Raises:
        ConfigError: it does not.
    """
    if "PRIVATE KEY" in pem:
        raise ConfigError("client CA: it contains a private key: expected certificates only")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_verify_locations(cadata=pem)
    except (ValueError, ssl.SSLError) as exc:
        raise ConfigError("client CA: no certificate, or a damaged one: expected PEM certificates") from exc
    if not context.get_ca_certs():
        raise ConfigError("client CA: no certificate of a CA: expected those that sign the visitors' certificates")
