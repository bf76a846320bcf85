"""Describes OpenSSL errors for users."""

import ssl

from portway.errors import BrokenChannel


def describe_tls_error(exc: ssl.SSLError) -> str:
    """Return the reason of an OpenSSL error, without its source line."""
    if isinstance(exc, ssl.SSLCertVerificationError):
        return f"certificate not accepted: {exc.verify_message}"
    if isinstance(exc, ssl.SSLEOFError) or exc.reason == "UNEXPECTED_EOF_WHILE_READING":  # CPython before 3.11.4 raises this instead
        return "the connection ended without close_notify"
    return (exc.reason or str(exc)).lower().replace("_", " ")


def handshake_failure(exc: ssl.SSLError) -> BrokenChannel:
    """Return the error of a handshake that failed, with its cause."""
    failure = BrokenChannel(f"TLS handshake failed: {describe_tls_error(exc)}")
    failure.__cause__ = exc.with_traceback(None)  # the traceback refers to a frame that refers to the failure: a cycle
    return failure
