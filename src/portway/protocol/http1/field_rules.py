"""Decides by a request field's name whether it goes on, is the edge's to read, or ends here."""

from collections.abc import Iterable

from portway.protocol.http1.errors import MessageError
from portway.protocol.http1.field_table import DROPPED, KEPT
from portway.protocol.http1.framing import shown

_UPPER, _LOWER = bytes(range(0x41, 0x5B)), bytes(range(0x61, 0x7B))
_ALNUM = frozenset((*range(0x30, 0x3A), *_LOWER))
_FOLDED = bytes(byte if byte in _ALNUM else _LOWER[_UPPER.index(byte)] if byte in _UPPER else 0x2D for byte in range(256))
"""Lower case, and every character that is neither letter nor digit as a hyphen. CGI, WSGI and Rack read `_` and `-` as one;
lighttpd and some CGI servers make `_` of every other character, too."""

_READ = (
    *(b"host", b"content-length", b"transfer-encoding", b"connection", b"expect", b"upgrade"),
    *(b"te", b"trailer", b"keep-alive", b"proxy-connection", b"proxy-authenticate", b"proxy-authorization", b"http2-settings"),
)
"""Framing, routing, and what concerns this hop only (RFC 9110 section 7.6.1): read here, and written anew where it is needed."""

_SMUGGLING = frozenset({b"content-length", b"transfer-encoding"})
"""Names of them that have a second spelling, which an origin could take for the framing of a request."""

_FREQUENT = """
    Host User-Agent Accept Accept-Language Accept-Encoding Accept-Charset Connection Cookie Referer Origin Authorization Cache-Control
    Pragma Content-Type Content-Length Content-Encoding Transfer-Encoding If-None-Match If-Modified-Since If-Match If-Range Range Date
    Upgrade Upgrade-Insecure-Requests Sec-Fetch-Dest Sec-Fetch-Mode Sec-Fetch-Site Sec-Fetch-User Sec-CH-UA Sec-CH-UA-Mobile
    Sec-CH-UA-Platform Sec-WebSocket-Key Sec-WebSocket-Version Sec-WebSocket-Extensions Sec-WebSocket-Protocol Priority DNT TE Expect
    X-Requested-With X-Request-ID X-CSRF-Token X-API-Key Traceparent Via
"""
DROP = b""
"""What `FieldRules.known` says of a field that ends here unread."""


def folded(name: bytes) -> bytes:
    """Return a field's name as the most lenient origin reads it, so that two spellings of one name are equal."""
    return name.translate(_FOLDED)


class _Names:
    """Exact names, and beginnings of names, looked up by their first three characters."""

    def __init__(self, names: Iterable[str]) -> None:
        self._exact: set[bytes] = set()
        self._starts: dict[bytes, tuple[bytes, ...]] = {}
        for text in names:
            name = text.encode("ascii")
            if name.endswith(b"*"):
                self._starts[name[:3]] = (*self._starts.get(name[:3], ()), name[:-1])
            else:
                self._exact.add(name)

    def has_exact(self, name: bytes) -> bool:
        return name in self._exact

    def has_start(self, name: bytes) -> bool:
        starts = self._starts.get(name[:3])
        return starts is not None and name.startswith(starts)


def _names(groups: Iterable[tuple[str, tuple[str, ...], str]]) -> _Names:
    return _Names(name for _, names, _ in groups for name in names)


_DROPPED, _KEPT = _names(DROPPED), _names(KEPT)


class FieldRules:
    """What becomes of each field of a request, by its name, on one kind of connection."""

    def __init__(self) -> None:
        """Decide as the table says."""
        self.known: dict[bytes, bytes | None] = {}
        """Names in the spellings that nearly everybody uses, decided once: None goes on, DROP ends here, and anything else is the name
        under which the field is read. What is not in it, `decide` knows; nothing that a visitor sends is ever put in."""
        for name in _FREQUENT.encode("ascii").split():
            for spelling in (name, name.lower()):
                self.known[spelling] = self.decide(spelling)

    def decide(self, name: bytes) -> bytes | None:
        """Return what `known` would say of any name.

        Raises:
            MessageError: it is no field of framing, but an origin could take it for one.
        """
        plain = folded(name)
        if plain in _READ:
            if plain == name.lower():
                return plain
            if plain in _SMUGGLING:
                raise MessageError(f"field name {shown(name)}, which may be taken for {plain.decode('ascii')}")
            return DROP
        if _KEPT.has_exact(plain):
            return None
        return DROP if _DROPPED.has_exact(plain) or _DROPPED.has_start(plain) else None


STRANGERS = FieldRules()
"""What visitors may send whom nobody vouches for."""
