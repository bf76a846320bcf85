"""Trailers: which fields may stand behind a body in chunks (RFC 9110 section 6.5), and what announces them."""

from portway.protocol.http1.errors import MessageError
from portway.protocol.http1.field_rules import STRANGERS, folded

_NEVER = frozenset(
    {
        # Routing, and what a field section may say only before the body: modifiers of a request.
        *(b"via", b"max-forwards", b"cache-control", b"pragma", b"range", b"if-match", b"if-none-match", b"if-modified-since"),
        *(b"if-unmodified-since", b"if-range", b"x-http-method-override", b"x-http-method", b"x-method-override"),
        # Authentication and cookies.
        *(b"authorization", b"www-authenticate", b"authentication-info", b"proxy-authentication-info"),
        *(b"cookie", b"cookie2", b"set-cookie", b"set-cookie2"),
        # What controls an answer, or says how to read it.
        *(b"age", b"date", b"expires", b"location", b"retry-after", b"vary", b"warning", b"refresh"),
        *(b"content-encoding", b"content-type", b"content-range", b"content-location"),
    }
)


def may_trail(name: bytes) -> bool:
    """Return whether a trailer of this name goes on: never what frames, routes, authenticates, or is the edge's to say.

    A recipient may merge trailers into the header fields (RFC 9110 section 6.5.1), so that nothing may come this way that is
    dropped there.
    """
    if folded(name) in _NEVER:
        return False
    try:
        return STRANGERS.decide(name) is None
    except MessageError:
        return False


def announced(value: bytes | None) -> bytes | None:
    """Return what of a Trailer field goes on, None if nothing does; several fields' values come joined by LF."""
    if value is None:
        return None
    names = [item.strip(b" \t") for item in value.replace(b"\n", b",").split(b",")]
    return b", ".join([name for name in names if name and may_trail(name)]) or None


def wants_trailers(te: bytes | None) -> bool:
    """Return whether a TE field says that trailers are read; several fields' values come joined by LF."""
    return te is not None and b"trailers" in [item.strip(b" \t") for item in te.lower().replace(b"\n", b",").split(b",")]
