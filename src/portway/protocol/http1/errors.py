"""The one error of this room: a message that breaks HTTP/1.1's rules, or ours, which are stricter."""

from portway.errors import PeerError


class MessageError(PeerError):
    """A request or response that is not forwarded; its connection closes after the answer that says so."""

    def __init__(self, reason: str, code: str = "bad_request") -> None:
        """`code` is the edge answer for a visitor who sent such a request (see `answers`); `reason` says what came."""
        super().__init__(reason)
        self.code = code
