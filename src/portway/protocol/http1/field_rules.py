"""Decides by a request field's name whether it goes on, is the edge's to read, or ends here."""

import re
from collections.abc import Iterable, Iterator

from portway.errors import ConfigError
from portway.protocol.http1.errors import MessageError
from portway.protocol.http1.field_table import DROPPED, KEPT, Group
from portway.protocol.http1.fields import REQUEST_LIMITS, HeadLimits
from portway.protocol.http1.framing import shown
from portway.protocol.http1.front import Front

_UPPER, _LOWER = bytes(range(0x41, 0x5B)), bytes(range(0x61, 0x7B))
_ALNUM = frozenset((*range(0x30, 0x3A), *_LOWER))
_FOLDED = bytes(byte if byte in _ALNUM else _LOWER[_UPPER.index(byte)] if byte in _UPPER else 0x2D for byte in range(256))
"""Lower case, and every character that is neither letter nor digit as a hyphen. CGI, WSGI and Rack read `_` and `-` as one;
lighttpd and some CGI servers make `_` of every other character, too."""

_READ = (
    *(b"host", b"content-length", b"transfer-encoding", b"connection", b"expect", b"upgrade"),
    *(b"cdn-loop", b"te", b"trailer", b"keep-alive", b"proxy-connection", b"proxy-authenticate", b"proxy-authorization", b"http2-settings"),
)
"""Framing, routing, loops, and what concerns this hop only (RFC 9110 section 7.6.1): read here, written anew where it is needed."""

_SMUGGLING = frozenset({b"content-length", b"transfer-encoding"})
"""Names of them that have a second spelling, which an origin could take for the framing of a request."""

_FREQUENT = """
    Host User-Agent Accept Accept-Language Accept-Encoding Accept-Charset Connection Cookie Referer Origin Authorization Cache-Control
    Pragma Content-Type Content-Length Content-Encoding Transfer-Encoding If-None-Match If-Modified-Since If-Match If-Range Range Date
    Upgrade Upgrade-Insecure-Requests Sec-Fetch-Dest Sec-Fetch-Mode Sec-Fetch-Site Sec-Fetch-User Sec-CH-UA Sec-CH-UA-Mobile
    Sec-CH-UA-Platform Sec-WebSocket-Key Sec-WebSocket-Version Sec-WebSocket-Extensions Sec-WebSocket-Protocol Priority DNT TE Expect
    X-Requested-With X-Request-ID X-CSRF-Token X-API-Key Traceparent Via
"""
_EDGE_OWN = frozenset(
    {
        *(b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto", b"x-forwarded-port", b"forwarded", b"x-request-start"),
        b"proxy",  # dangerous whoever sends it
    }
)
"""What no trusted proxy may pass either: the edge writes these itself."""

_TRUSTED = re.compile(r"[a-z0-9-]{2,64}\*?")

DROP = b""
"""What `FieldRules.known` says of a field that ends here unread."""


def folded(name: bytes) -> bytes:
    """Return a field's name as the most lenient origin reads it, so that two spellings of one name are equal."""
    return name.translate(_FOLDED)


def _exact(groups: Iterable[Group]) -> Iterator[bytes]:
    return (name.encode("ascii") for group in groups for name in group.names if not name.endswith("*"))


def _starts(groups: Iterable[Group]) -> dict[bytes, tuple[bytes, ...]]:
    """Return the beginnings of names by their first three characters."""
    found: dict[bytes, tuple[bytes, ...]] = {}
    for group in groups:
        for name in group.names:
            if name.endswith("*"):
                start = name[:-1].encode("ascii")
                found[start[:3]] = (*found.get(start[:3], ()), start)
    return found


_FATES: dict[bytes, bytes | None] = {
    **dict.fromkeys(_exact(DROPPED), DROP),
    **dict.fromkeys(_exact(KEPT)),
    **{name: name for name in _READ},
}
_DROPPED_STARTS = _starts(DROPPED)


class FieldRules:
    """What becomes of each field of a request, by its name, on one kind of connection."""

    def __init__(
        self,
        limits: HeadLimits = REQUEST_LIMITS,
        server_id: str = "",
        via: str = "",
        trusted_headers: Iterable[str] = (),
        front: Front | None = None,
    ) -> None:
        """Decide as the table says, in heads within `limits`.

        `server_id` is how requests that come back are known, `via` this server's name in Via; without one the field is not written.
        `trusted_headers` (as `read_trusted_headers` returns them) end here, unless there is a proxy in `front`: then they go on, and its
        forwarding fields are read. Another spelling of either ends here all the same: proxies pass on what they do not know.
        """
        self.limits = limits
        self.front = front
        goes_on = None if front is not None else DROP
        self._special: dict[bytes, bytes | None] = {name.encode("ascii"): goes_on for name in trusted_headers if name[-1] != "*"}
        self._special_starts = tuple(name[:-1].encode("ascii") for name in trusted_headers if name[-1] == "*")
        self._special_fate = goes_on
        self._special |= dict.fromkeys(_EDGE_OWN, DROP)
        if front is not None:
            self._special |= {name: name for name in front.reads}
        self.server_id = server_id.encode("ascii")
        self.via = via.encode("ascii")
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
        plain = name.translate(_FOLDED)
        if plain in self._special:
            fate = self._special[plain]
            return fate if plain == name.lower() else DROP
        if self._special_starts and plain.startswith(self._special_starts):
            return self._special_fate if plain == name.lower() else DROP
        if plain in _FATES:
            fate = _FATES[plain]
            if not fate or plain == name.lower():
                return fate
            if plain in _SMUGGLING:
                raise MessageError(f"field name {shown(name)}, which may be taken for {plain.decode('ascii')}")
            return DROP
        starts = _DROPPED_STARTS.get(plain[:3])
        return DROP if starts is not None and plain.startswith(starts) else None


def read_trusted_headers(text: str) -> tuple[str, ...]:
    """Return the names that a list says, in lower case: `X-Auth-Request-User, Remote-*`.

    Raises:
        ConfigError: one of them is no name, or a field that no proxy can pass, as the edge reads or writes it.
    """
    names = []
    for item in text.split(","):
        name = item.strip().lower()
        if _TRUSTED.fullmatch(name) is None:
            raise ConfigError(f"expected header names like X-Auth-Request-User or Remote-*, got {item.strip()!r}")
        if name.encode("ascii") in (*_EDGE_OWN, *_READ) or name.startswith("portway-"):
            raise ConfigError(f"{item.strip()} cannot be passed: the server reads or writes it itself")
        names.append(name)
    return tuple(names)


STRANGERS = FieldRules()
"""What visitors may send whom nobody vouches for."""
