"""Certificates in use: a table from host names to TLS contexts, which are replaced before they are too old."""

from collections.abc import Iterable

from portway.certificates.certificate import Certificate
from portway.certificates.contexts import VisitorContext, is_worn, visitor_context


class ServedCertificate:
    """A certificate with its current context."""

    __slots__ = ("_made_at", "certificate", "context")

    def __init__(self, certificate: Certificate, now: float) -> None:
        """Create the context; raises ConfigError as `visitor_context`."""
        self.certificate = certificate
        self.context: VisitorContext = visitor_context(certificate.pem)
        self._made_at = now

    def is_worn(self, now: float) -> bool:
        """Return whether the context should be replaced; also after the clock went back."""
        return is_worn(self.context, abs(now - self._made_at))

    def renew_context(self, now: float) -> None:
        """Replace the context; may be called from another thread than those that read it."""
        self.context = visitor_context(self.certificate.pem)
        self._made_at = now


class NameTable:
    """Finds the best certificate for a host name. Immutable, so that a thread can replace it by another as a whole."""

    def __init__(self, served: Iterable[ServedCertificate] = ()) -> None:
        """Sort certificates by name."""
        self._by_name: dict[str, list[ServedCertificate]] = {}
        for one in served:
            for name in one.certificate.names:
                self._by_name.setdefault(name, []).append(one)
        for several in self._by_name.values():
            several.sort(key=lambda one: -one.certificate.not_after)

    def find(self, name: str, now: float) -> ServedCertificate | None:
        """Return the certificate that is best for `name`.

        A valid one comes before one that has expired or is not valid yet, then one for exactly this name before a wildcard, then the one that
        lasts longest. A wildcard stands for exactly one label.
        """
        exact = self._by_name.get(name, ())
        wild = self._by_name.get("*." + name.partition(".")[2], ())
        for several in (exact, wild):
            for one in several:
                if one.certificate.is_valid(now):
                    return one
        return exact[0] if exact else wild[0] if wild else None

    def context_for(self, name: str, now: float) -> VisitorContext | None:
        """Return the context of the best certificate for `name`."""
        found = self.find(name, now)
        return None if found is None else found.context

    def has_valid(self, name: str, now: float) -> bool:
        """Return whether there is a certificate for `name` that is valid now."""
        found = self.find(name, now)
        return found is not None and found.certificate.is_valid(now)
