"""A visitor's connection as one that may end, or be left, while its answer is under way."""

from portway.errors import BrokenChannel
from portway.server.edge.http.visitor.sheddable import KEPT_FREE_BYTES, SheddableVisitor


class WatchedConnection(SheddableVisitor):
    """Notices that a visitor has ended; `HeadReading` and `VisitorConnection` extend it."""

    __slots__ = ()

    @property
    def said_all(self) -> bool:
        """True when the visitor has ended, and no request of its is left that came before."""
        return self.inlet.ended and not self.inlet.held

    def look_ahead(self) -> None:
        """See whether the visitor has ended, while its answer is under way. A little of its next request is kept for later."""
        exchange, asked, inlet = self._exchange, self._asked, self.inlet
        if exchange is None or exchange.uploading or asked is None or (asked.request.upgrade is not None and inlet.held):
            return  # what comes behind an upgrade, an end included, belongs to the other protocol
        try:
            inlet.read_ahead(KEPT_FREE_BYTES)
        except BrokenChannel:
            exchange.visitor_broke()
            return
        if inlet.ended:
            exchange.visitor_ended()
