"""Decides by name whether a request field is forwarded, read by the edge, or dropped."""

import re
from collections.abc import Iterable, Iterator

from portway.errors import ConfigError
from portway.protocol.http1.errors import MessageError
from portway.protocol.http1.field_table import DROPPED, KEPT, Group
from portway.protocol.http1.fields import REQUEST_LIMITS, HeadLimits
from portway.protocol.http1.framing import quoted
from portway.protocol.http1.trusted_proxies import TrustedProxies

_UPPER, _LOWER = bytes(range(0x41, 0x5B)), bytes(range(0x61, 0x7B))
_ALNUM = frozenset((*range(0x30, 0x3A), *_LOWER))
_FOLDED = bytes(byte if byte in _ALNUM else _LOWER[_UPPER.index(byte)] if byte in _UPPER else 0x2D for byte in range(256))
"""Maps to lower case, and every character that is neither letter nor digit to a hyphen. CGI, WSGI and Rack treat `_` and `-` as equal;
lighttpd and some CGI servers map every other character to `_` as well."""

OF_ONE_HOP = frozenset(
    {
        *(b"host", b"content-length", b"transfer-encoding", b"connection", b"expect", b"upgrade"),
        *(b"te", b"trailer", b"keep-alive", b"proxy-connection", b"proxy-authenticate", b"proxy-authorization", b"http2-settings"),
    }
)
"""Framing, routing and hop-by-hop fields (RFC 9110 section 7.6.1): read here, rewritten where needed."""

_READ = OF_ONE_HOP | {b"cdn-loop"}
"""The same with loop detection."""

_SMUGGLING = frozenset({b"content-length", b"transfer-encoding"})
"""Framing fields with alternative spellings (`Content_Length`), which an origin could accept as framing."""

_FREQUENT = """
    Host User-Agent Accept Accept-Language Accept-Encoding Accept-Charset Connection Cookie Referer Origin Authorization Cache-Control
    Pragma Content-Type Content-Length Content-Encoding Transfer-Encoding If-None-Match If-Modified-Since If-Match If-Range Range Date
    Upgrade Upgrade-Insecure-Requests Sec-Fetch-Dest Sec-Fetch-Mode Sec-Fetch-Site Sec-Fetch-User Sec-CH-UA Sec-CH-UA-Mobile
    Sec-CH-UA-Platform Sec-WebSocket-Key Sec-WebSocket-Version Sec-WebSocket-Extensions Sec-WebSocket-Protocol Priority DNT TE Expect
    X-Requested-With X-Request-ID X-CSRF-Token X-API-Key Traceparent Via
"""
_SET_BY_EDGE = frozenset(
    {
        *(b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto", b"x-forwarded-port", b"forwarded", b"x-request-start"),
        b"proxy",  # dangerous from any sender
    }
)
"""Fields that the edge sets or always drops; no trusted proxy can pass them."""

_TRUSTED = re.compile(r"[a-z0-9-]{2,64}\*?")

DROP = b""
"""The decision to drop a field unread."""


def folded(name: bytes) -> bytes:
    """Return a field name in the form in which lenient origins compare names: all alternative spellings become equal."""
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


_DECISIONS: dict[bytes, bytes | None] = {
    **dict.fromkeys(_exact(DROPPED), DROP),
    **dict.fromkeys(_exact(KEPT)),
    **{name: name for name in _READ},
}
_DROPPED_STARTS = _starts(DROPPED)


class FieldRules:
    """Field decisions for one kind of connection: from untrusted peers, or from trusted proxies."""

    def __init__(
        self,
        limits: HeadLimits = REQUEST_LIMITS,
        server_id: str = "",
        via: str = "",
        trusted_headers: Iterable[str] = (),
        proxies: TrustedProxies | None = None,
    ) -> None:
        """Apply the field table to heads within `limits`.

        `server_id` identifies this server in CDN-Loop, `via` in Via (empty: no Via). `proxies` is set for connections from trusted
        proxies: then their forwarding fields are read and `trusted_headers` (see `read_trusted_headers`) are forwarded; on other
        connections `trusted_headers` are dropped. Alternative spellings of both are always dropped, since proxies forward unknown fields.
        """
        self.limits = limits
        self.proxies = proxies
        decision = None if proxies is not None else DROP
        self._special: dict[bytes, bytes | None] = {name.encode("ascii"): decision for name in trusted_headers if name[-1] != "*"}
        self._special_starts = tuple(name[:-1].encode("ascii") for name in trusted_headers if name[-1] == "*")
        self._special_decision = decision
        self._special |= dict.fromkeys(_SET_BY_EDGE, DROP)
        if proxies is not None:
            self._special |= {name: name for name in proxies.field_names}
        self.server_id = server_id.encode("ascii")
        self.via = via.encode("ascii")
        self.known: dict[bytes, bytes | None] = {}
        """Decisions for names in common spellings: None (forward), DROP, or the name under which the edge reads the field. `decide`
        handles all others; names that visitors send are never added."""
        for name in _FREQUENT.encode("ascii").split():
            for spelling in (name, name.lower()):
                self.known[spelling] = self.decide(spelling)

    def decide(self, name: bytes) -> bytes | None:
        """Return the decision for any name, as `known` has it.

        Raises:
            MessageError: an alternative spelling of Content-Length or Transfer-Encoding.
        """
        plain = name.translate(_FOLDED)
        if plain in self._special:
            decision = self._special[plain]
            return decision if plain == name.lower() else DROP
        if self._special_starts and plain.startswith(self._special_starts):
            return self._special_decision if plain == name.lower() else DROP
        if plain in _DECISIONS:
            decision = _DECISIONS[plain]
            if not decision or plain == name.lower():
                return decision
            if plain in _SMUGGLING:
                raise MessageError(f"invalid field name {quoted(name)}: it can be confused with {plain.decode('ascii')}")
            return DROP
        starts = _DROPPED_STARTS.get(plain[:3])
        return DROP if starts is not None and plain.startswith(starts) else None


def read_trusted_headers(text: str) -> tuple[str, ...]:
    """Return the names of a comma-separated list in lower case: `X-Auth-Request-User, Remote-*`.

    Raises:
        ConfigError: an invalid name, or a field that the edge reads or sets itself.
    """
    names = []
    for item in text.split(","):
        name = item.strip().lower()
        if _TRUSTED.fullmatch(name) is None:
            raise ConfigError(f"invalid header name {item.strip()!r}: expected names like X-Auth-Request-User or Remote-*")
        if name.encode("ascii") in (*_SET_BY_EDGE, *_READ) or name.startswith("portway-"):
            raise ConfigError(f"{item.strip()} cannot be forwarded: the server reads or writes it itself")
        names.append(name)
    return tuple(names)


UNTRUSTED = FieldRules()
"""The rules for connections from untrusted peers, without a server id."""
