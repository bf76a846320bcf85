"""What listeners of visitors' TLS need from certificates, and what every source of certificates offers."""

import ssl
from typing import Protocol

from portway.certificates.contexts import VisitorContext


class CertificateSource(Protocol):
    """Certificates by host name. The reactor calls both methods for every handshake: they never block, and are usually a dictionary lookup."""

    def context_for(self, name: str) -> VisitorContext | None:
        """Return the context for a host name as `normalise_host` returns it; None without a certificate now.

        Contexts are those of `contexts.visitor_context`.
        """

    def has_trusted(self, name: str) -> bool:
        """Return whether visitors can be sent to https for this name.

        That is a certificate from files or ACME that has not expired, or one of the development CA if the operator asked for it
        (`--dev-tls`): only then do browsers trust it.
        """


class ChallengeSource(Protocol):
    """Answers to a CA's challenges, for names with a pending order only."""

    def challenge_context(self, name: str) -> ssl.SSLContext | None:
        """Return the context for TLS-ALPN-01 (RFC 8737), with ALPN `acme-tls/1`; None without a pending order for this name."""

    def is_ordered(self, name: str) -> bool:
        """Return whether the first certificate for this name is being ordered: visitors may wait for it."""

    def http_challenge(self, name: str, token: str) -> bytes | None:
        """Return the body for HTTP-01 (RFC 8555 section 8.3); None without a pending order for this name and token."""
