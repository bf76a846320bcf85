"""OpenSSL's errors in words that a person can use."""

import ssl


def words_of(exc: ssl.SSLError) -> str:
    """Return OpenSSL's reason in words, without its source line."""
    if isinstance(exc, ssl.SSLCertVerificationError):
        return f"certificate not accepted: {exc.verify_message}"
    if isinstance(exc, ssl.SSLEOFError) or exc.reason == "UNEXPECTED_EOF_WHILE_READING":  # the latter before CPython 3.11.4
        return "the connection ended without close_notify"
    return (exc.reason or str(exc)).lower().replace("_", " ")
