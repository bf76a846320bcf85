"""OpenSSL's errors in words that a person can use."""

import ssl


def words_of(exc: ssl.SSLError) -> str:
    """Return OpenSSL's reason in words, without its source line."""
    if isinstance(exc, ssl.SSLCertVerificationError):
        return f"certificate not accepted: {exc.verify_message}"
    if isinstance(exc, ssl.SSLEOFError):
        return "the connection ended without close_notify"
    return (exc.reason or str(exc)).lower().replace("_", " ")
