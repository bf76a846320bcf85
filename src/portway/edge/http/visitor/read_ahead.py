"""Detects that a visitor closes while its response is in progress."""

from portway.edge.http.visitor.sheddable import UNCOUNTED_BYTES, SheddableMixin
from portway.errors import BrokenChannel


class ReadAheadMixin(SheddableMixin):
    """Adds the detection of a visitor's end, by reading ahead."""

    __slots__ = ()

    @property
    def finished_sending(self) -> bool:
        """True if the visitor has ended, and no earlier request of it is left."""
        return self.reader.ended and not self.reader.buffered

    def read_ahead(self) -> None:
        """Check whether the visitor has ended during its response. A little of its next request is buffered."""
        exchange, cached, reader = self._exchange, self._cached_request, self.reader
        if exchange is None or exchange.uploading or cached is None or (cached.request.upgrade is not None and reader.buffered):
            return  # bytes and an end behind an upgrade belong to the other protocol
        try:
            reader.read_ahead(UNCOUNTED_BYTES)
        except BrokenChannel:
            exchange.on_visitor_broken()
            return
        if reader.ended:
            exchange.on_visitor_ended()
