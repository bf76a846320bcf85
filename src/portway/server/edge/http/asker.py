"""What an exchange needs of its visitor."""

from typing import Protocol

from portway.engine.channel import Channel
from portway.server.edge.http.buffers import Inlet, Outlet
from portway.server.edge.http.origin.stream import OriginStream
from portway.server.edge.http.origin.pin import Pin
from portway.server.edge.http.exchange.shaping import Shaping


class Asker(Protocol):
    """Whoever asked, and gets the answer."""

    inlet: Inlet
    outlet: Outlet
    channel: Channel
    deadline: float
    pin: Pin | None
    """A stream that is its own, while no request is on it."""
    shaping: Shaping | None
    """What the rates of the tunnel that it asked last make of its connection."""

    @property
    def shared(self) -> bool:
        """Whether the connection may carry requests of several visitors: no stream may be pinned to it then."""

    def own_lines(self, host: bytes) -> bytes:
        """Return the lines that the edge adds to a request's head, and the empty one that ends it."""

    def look_ahead(self) -> None:
        """See whether the visitor has ended, as nothing of the request is left to be read."""

    def answered(self, status: int, *, keep_alive: bool) -> None:
        """Hear that the whole answer was handed to the outlet."""

    def refuse(self, code: str, detail: str = "", *, complete: bool) -> None:
        """Answer in the origin's place; `complete` says that the whole request was read."""

    def try_again(self) -> None:
        """Route the same request anew, perhaps after a hold."""

    def switched(self, stream: OriginStream) -> None:
        """Hear that the connection speaks another protocol from now on; `stream` changes hands."""

    def hang_up(self) -> None:
        """End the visitor's connection properly, without an answer: the request did not reach the origin that it was meant for."""

    def pin_lost(self) -> None:
        """Called when the pinned stream has ended."""

    def count_kept(self) -> None:
        """Count anew what is kept of heads: it has changed."""

    def count_unread(self) -> None:
        """Count anew what the visitor has not taken of its answer."""

    def gone(self, status: int, cut: str = "") -> None:
        """Break the visitor's connection: its answer cannot be completed, or it has left."""
