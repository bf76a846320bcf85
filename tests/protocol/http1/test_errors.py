"""The error of this package."""

from portway.errors import PeerError
from portway.protocol.http1.errors import MessageError


def test_a_message_error_is_a_peer_error_with_a_response_code() -> None:
    error = MessageError("a reason", "head_too_large")
    assert isinstance(error, PeerError)
    assert (str(error), error.code) == ("a reason", "head_too_large")
    assert MessageError("x").code == "bad_request"
