"""No protocol: every client gets the same target (`--destination`)."""

from portway.forward.outcomes import Failure


class FixedTargetNegotiation:
    """The negotiation of a client that has nothing to say: all its bytes are the target's."""

    protocol = "tcp"

    def feed(self, data: bytes) -> None:
        """Take nothing: the relay starts at once."""

    def end(self) -> None:
        """Take nothing."""

    def established(self) -> bytes:
        """Return nothing."""
        return b""

    def failed(self, _failure: Failure) -> bytes:
        """Return nothing: the client only sees that the connection ends."""
        return b""
