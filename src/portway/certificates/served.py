"""Certificates in use: a table from host names to TLS contexts, which are replaced before they are too old."""

from collections.abc import Iterable

from portway.certificates.certificate import Certificate
from portway.certificates.contexts import VisitorContext, is_worn, visitor_context


class ServedCertificate:
    """A certificate with its current context, and maybe one together with a certificate of another type of key."""

    __slots__ = ("_joint", "_made_at", "certificate", "context")

    def __init__(self, certificate: Certificate, now: float) -> None:
        """Create the context; raises ConfigError as `visitor_context`."""
        self.certificate = certificate
        self.context: VisitorContext = visitor_context(certificate.pem)
        self._joint: tuple[Certificate, VisitorContext] | None = None
        self._made_at = now

    def join(self, other: Certificate | None) -> None:
        """Serve `other`, which has the same names, to clients that do not offer this type of key; None: nothing else. May be called from
        another thread than those that read it.
        """
        if other is None:
            self._joint = None
        elif self._joint is None or self._joint[0].pem != other.pem:
            self._joint = other, visitor_context(self.certificate.pem, other.pem)

    def context_at(self, now: float) -> VisitorContext:
        """Return the context to use: with the other certificate only while that is valid, as OpenSSL does not check dates."""
        joint = self._joint
        return self.context if joint is None or not joint[0].is_valid(now) else joint[1]

    def is_worn(self, now: float) -> bool:
        """Return whether the contexts should be replaced; also after the clock went back."""
        age_s = abs(now - self._made_at)
        return is_worn(self.context, age_s) or (self._joint is not None and is_worn(self._joint[1], age_s))

    def renew_context(self, now: float) -> None:
        """Replace the contexts; may be called from another thread than those that read it."""
        self.context = visitor_context(self.certificate.pem)
        if self._joint is not None:
            other = self._joint[0]
            self._joint = other, visitor_context(self.certificate.pem, other.pem)
        self._made_at = now


def join_types(served: Iterable[ServedCertificate]) -> None:
    """Join certificates with the same names and different types of keys, RSA and ECDSA, each with the one that lasts longest."""
    best: dict[frozenset[str], dict[str, Certificate]] = {}
    everything = list(served)
    for one in everything:
        if one.certificate.key_type:
            types = best.setdefault(frozenset(one.certificate.names), {})
            rival = types.get(one.certificate.key_type)
            if rival is None or rival.not_after < one.certificate.not_after:
                types[one.certificate.key_type] = one.certificate
    for one in everything:
        types = best.get(frozenset(one.certificate.names), {})
        own = one.certificate.key_type
        one.join(next((other for key_type, other in types.items() if own and key_type != own), None))


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
        return None if found is None else found.context_at(now)

    def has_valid(self, name: str, now: float) -> bool:
        """Return whether there is a certificate for `name` that is valid now."""
        found = self.find(name, now)
        return found is not None and found.certificate.is_valid(now)
