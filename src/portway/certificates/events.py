"""Events about certificates, each a frozen value."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CertificateUp:
    """A certificate is ready for visitors: loaded, obtained or renewed."""

    source: str
    """`files`, `acme` or `dev`."""
    id: str
    """Identifies it within its source: its file, or its name."""
    names: tuple[str, ...]
    issuer: str
    not_after: float
    """When it expires; seconds since 1970."""
    next_attempt: float | None = None
    """When it will be renewed, if its source does that; seconds since 1970."""


@dataclass(frozen=True, slots=True)
class CertificateOrdered:
    """An order began at a CA."""

    source: str
    id: str
    renewal: bool = False
    """Whether there is an earlier certificate."""


@dataclass(frozen=True, slots=True)
class CertificateFailed:
    """A certificate could not be loaded, obtained or renewed."""

    source: str
    id: str
    reason: str
    stays: bool = False
    """Whether an earlier one stays in use."""
    names: tuple[str, ...] = ()
    """If they are known."""
    next_attempt: float | None = None


@dataclass(frozen=True, slots=True)
class CertificateDown:
    """A certificate is no longer used."""

    source: str
    id: str


CertificateEvent = CertificateUp | CertificateOrdered | CertificateFailed | CertificateDown

EventSink = Callable[[CertificateEvent], None]
"""Receives events; must not block."""
