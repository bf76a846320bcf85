"""TLS contexts for visitors, from a PEM chain and key in memory."""

import os
import ssl
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from portway.errors import ConfigError

VISITOR_ALPN = ("http/1.1",)

CIPHERS = ":".join(
    f"ECDHE-{key}-{cipher}" for cipher in ("AES128-GCM-SHA256", "CHACHA20-POLY1305", "AES256-GCM-SHA384") for key in ("ECDSA", "RSA")
)
"""For TLS 1.2: forward secrecy and authenticated encryption only. TLS 1.3 has no others."""

CONTEXT_S_MAX = 86_400.0
"""How long one context serves new connections. Its ticket key is as old as the context, CPython cannot replace it, and anyone who learns
it can decrypt what was sent with its tickets: a day is what others rotate theirs by (ADR 0027)."""

TICKETS = 1
"""Session tickets per TLS 1.3 handshake. A client that resumes gets the next one; OpenSSL's default of two costs 30 µs more, 8 % of a handshake,
for clients that open several connections at once with tickets of one."""

VARIANTS_MAX = 64
"""Variants of one context; one tunnel needs one."""

SESSIONS_MAX = 1_000
"""Sessions in a context's cache at which it is replaced. OpenSSL caches the sessions of TLS 1.2 clients without tickets, up to 20,000 per
context of 1 kB each; CPython cannot switch the cache off, and few such clients exist."""


class VisitorContext(ssl.SSLContext):
    """A server context that also has variants for tunnels that ask for visitors' certificates: CPython cannot copy a context."""

    pems: tuple[bytes, ...]
    variants: dict[str, ssl.SSLContext]

    def with_client_ca(self, client_ca: str) -> ssl.SSLContext:
        """Return a context with the same certificate that requires one of visitors, signed by a CA in `client_ca` (PEM). Takes a
        millisecond the first time.

        Raises:
            ssl.SSLError: `client_ca` has no certificate.
        """
        found = self.variants.get(client_ca)
        if found is None:
            found = visitor_context(*self.pems)
            found.load_verify_locations(cadata=client_ca)
            found.verify_mode = ssl.CERT_REQUIRED
            if len(self.variants) >= VARIANTS_MAX:
                self.variants.clear()
            self.variants[client_ca] = found
        return found


def visitor_context(*pems: bytes, alpn: Sequence[str] = VISITOR_ALPN) -> VisitorContext:
    """Return a server context with the certificate chain and the key in each of `pems`. Takes a millisecond for each.

    OpenSSL holds one chain per type of key, and chooses by what the client offers: ECDSA if it can, as `CIPHERS` lists it first.

    TLS 1.2 and 1.3, session tickets, no renegotiation; an end without close_notify is an error. A channel references its context as
    long as it exists, so a replaced one ends with its last channel.

    Raises:
        ConfigError: certificate or key is missing or damaged, the key is encrypted, or the two do not match.
    """
    context = VisitorContext(ssl.PROTOCOL_TLS_SERVER)
    context.pems, context.variants = pems, {}
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS)
    context.set_alpn_protocols(list(alpn))
    context.num_tickets = TICKETS
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE | ssl.OP_NO_COMPRESSION
    context.options &= ~getattr(ssl, "OP_IGNORE_UNEXPECTED_EOF", 0) & ~ssl.OP_NO_TICKET
    for pem in pems:
        _load_chain(context, pem)
    return context


def _load_chain(context: ssl.SSLContext, pem: bytes) -> None:
    with _as_file(pem) as path:
        try:
            # Without a password OpenSSL would prompt on the terminal for that of an encrypted key, and wait.
            context.load_cert_chain(path, password="")
        except (OSError, ssl.SSLError) as exc:
            raise ConfigError(f"invalid certificate or key: {_reason(exc)}") from exc


def is_worn(context: ssl.SSLContext, age_s: float) -> bool:
    """Return whether a context of this age should be replaced."""
    return age_s >= CONTEXT_S_MAX or context.session_stats()["number"] >= SESSIONS_MAX


@contextmanager
def _as_file(data: bytes) -> Iterator[str]:
    """Yield the path of a file with `data` that only this process can open: CPython loads certificates from files only."""
    if hasattr(os, "memfd_create") and Path("/proc/self/fd").is_dir():
        handle = os.memfd_create("portway certificate", os.MFD_CLOEXEC)
        with os.fdopen(handle, "wb", buffering=0) as file:
            file.write(data)
            yield f"/proc/self/fd/{handle}"
        return
    with tempfile.NamedTemporaryFile(prefix="portway-", suffix=".pem") as named:  # mode 0600
        named.write(data)
        named.flush()
        yield named.name


def _reason(exc: OSError) -> str:
    """Return OpenSSL's reason without its numbers."""
    reason = getattr(exc, "reason", None)
    return str(reason).lower().replace("_", " ") if reason else "expected a PEM certificate chain and its key, unencrypted"
