"""The error of this package: a message that violates HTTP/1.1, or the edge's stricter rules."""

from portway.errors import PeerError


class MessageError(PeerError):
    """A request or response that is not forwarded; its connection is closed after the error response."""

    def __init__(self, reason: str, code: str = "bad_request") -> None:
        """`code` is the error code for a visitor that sent such a request (see `error_responses`); `reason` describes the message."""
        super().__init__(reason)
        self.code = code
