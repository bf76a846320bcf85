"""Trailer fields (RFC 9110 section 6.5): which ones may be forwarded, and the fields Trailer and TE."""

from portway.protocol.http1.errors import MessageError
from portway.protocol.http1.field_rules import UNTRUSTED, folded
from portway.protocol.http1.lists import members

_NEVER = frozenset(
    {
        # Routing, and request modifiers.
        *(b"via", b"max-forwards", b"cache-control", b"pragma", b"range", b"if-match", b"if-none-match", b"if-modified-since"),
        *(b"if-unmodified-since", b"if-range", b"x-http-method-override", b"x-http-method", b"x-method-override"),
        # Authentication and cookies.
        *(b"authorization", b"www-authenticate", b"authentication-info", b"proxy-authentication-info"),
        *(b"cookie", b"cookie2", b"set-cookie", b"set-cookie2"),
        # Response control, and content format.
        *(b"age", b"date", b"expires", b"location", b"retry-after", b"vary", b"warning", b"refresh"),
        *(b"content-encoding", b"content-type", b"content-range", b"content-location"),
    }
)


def is_allowed_trailer(name: bytes) -> bool:
    """Return whether a trailer field may be forwarded: no framing, routing, authentication or cookie field, and none that the edge sets.

    A recipient may merge trailers into the header section (RFC 9110 section 6.5.1), so a field that is dropped there is dropped here, too.
    """
    if folded(name) in _NEVER:
        return False
    try:
        return UNTRUSTED.decide(name) is None
    except MessageError:
        return False


def allowed_trailer_names(value: bytes | None) -> bytes | None:
    """Return the allowed names of a Trailer field, None if there are none. Values of repeated fields are joined by LF.

    Raises:
        MessageError: there are too many.
    """
    if value is None:
        return None
    return b", ".join([name for name in members(value) if is_allowed_trailer(name)]) or None


def accepts_trailers(te: bytes | None) -> bool:
    """Return whether TE lists `trailers`. Values of repeated fields are joined by LF."""
    return te is not None and b"trailers" in members(te.lower())
