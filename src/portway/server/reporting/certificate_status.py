"""Certificates of a server as `portway certificates` lists them, derived from events."""

import msgspec

from portway.certificates.events import CertificateDown, CertificateFailed, CertificateUp


class CertificateStatus(msgspec.Struct):
    """One certificate, or one that could not be loaded or obtained."""

    source: str
    id: str
    """Its file or name."""
    names: tuple[str, ...] = ()
    issuer: str = ""
    not_after: float | None = None
    """When it expires, seconds since 1970; None if there is none."""
    last_error: str = ""
    """Why the last attempt to load, obtain or renew it failed; empty after a success."""
    next_attempt: float | None = None
    """Seconds since 1970; None where it depends on changes of files."""


CertificateEvent = CertificateUp | CertificateFailed | CertificateDown


class CertificateTable:
    """Receives the events of certificates and returns one row for each. Bounded by the sources."""

    def __init__(self) -> None:
        """Start without certificates."""
        self._rows: dict[tuple[str, str], CertificateStatus] = {}

    def rows(self) -> list[CertificateStatus]:
        """Return the rows by source, in the order in which they came up."""
        order = ("files", "acme", "dev")
        return sorted(self._rows.values(), key=lambda row: order.index(row.source) if row.source in order else len(order))

    def update(self, event: CertificateEvent) -> None:
        """Update the rows from one event."""
        at = (event.source, event.id)
        if isinstance(event, CertificateDown):
            self._rows.pop(at, None)
        elif isinstance(event, CertificateUp):
            self._rows[at] = CertificateStatus(
                event.source, event.id, tuple(event.names), event.issuer, event.not_after, next_attempt=event.next_attempt
            )
        else:
            row = self._rows.setdefault(at, CertificateStatus(event.source, event.id))
            row.names = row.names or tuple(event.names)
            row.last_error, row.next_attempt = event.reason, event.next_attempt
            if not event.stays:
                row.issuer, row.not_after = "", None
