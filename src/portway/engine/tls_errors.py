"""Describes OpenSSL errors for users."""

import ssl


def describe_tls_error(exc: ssl.SSLError) -> str:
    """Return the reason of an OpenSSL error, without its source line."""
    if isinstance(exc, ssl.SSLCertVerificationError):
        return f"certificate not accepted: {exc.verify_message}"
    if isinstance(exc, ssl.SSLEOFError) or exc.reason == "UNEXPECTED_EOF_WHILE_READING":  # CPython before 3.11.4 raises this instead
        return "the connection ended without close_notify"
    return (exc.reason or str(exc)).lower().replace("_", " ")
