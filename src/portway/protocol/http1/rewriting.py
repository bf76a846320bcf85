"""Rewrites the heads of one tunnel: the host expected by its origin, configured fields, and cookies of the shared domain."""

import re
from collections.abc import Sequence

from portway.protocol.http1.errors import MessageError
from portway.protocol.http1.fields import CRLF, Field
from portway.protocol.http1.serialise import field_lines

Change = tuple[bytes, bytes | None]
"""A field's name and its new value; None removes the field."""

ATTRIBUTES_MAX = 64
"""Attributes of a cookie; eight are defined, and the search for Domain takes 0.5 µs for each."""
_SET_COOKIE = b"set-cookie"
_DOMAIN = re.compile(rb";[ \t]*domain[ \t]*=[ \t]*([^;]*)", re.IGNORECASE)
_ABSOLUTE = re.compile(rb"(https?)://([^/?#]*)(.*)", re.IGNORECASE | re.DOTALL)
_DEFAULT_PORT = {b"http": b":80", b"https": b":443"}


class HeadRewriter:
    """Rewrites the requests and responses of one tunnel.

    Without settings it changes only cookies: one that an origin sets for the shared domain of all tunnels, or for a parent of
    it, becomes a cookie of the tunnel's own host.
    """

    __slots__ = (
        "_added",
        "_domain",
        "_host",
        "_names",
        "_origin",
        "_own",
        "_response_added",
        "_response_names",
        "_scheme",
        "changes_requests",
    )

    def __init__(
        self,
        own: str,
        domain: str,
        *,
        host: bytes = b"",
        scheme: bytes = b"http",
        request: Sequence[Change] = (),
        response: Sequence[Change] = (),
    ) -> None:
        """Rewrite for the tunnel at host name `own` of a server whose tunnels share `domain`; empty: they share none.

        `host` is the Host value for the origin, empty to keep the visitor's; `scheme` is how the origin would be reached directly.
        """
        self._own = own.encode("ascii")
        self._domain = domain.encode("ascii")
        self._host = host
        self._scheme = scheme
        self._origin = scheme + b"://" + host
        self._names = frozenset(name.lower() for name, _ in request)
        self._added = field_lines([(name, value) for name, value in request if value is not None])
        self._response_names = frozenset(name.lower() for name, _ in response)
        self._response_added: list[Field] = [(name, value) for name, value in response if value is not None]
        self.changes_requests = bool(host or request)
        """Whether `request` changes anything."""

    def request(self, lines: bytes, visitor_host: bytes, visitor_scheme: str = "http") -> bytes:
        """Return a request's head, as `request_lines` wrote it, for the origin; `visitor_host` is the Host value in it,
        `visitor_scheme` the scheme of the visitor's request.
        """
        first, *rest = lines.split(CRLF)
        kept = [first]
        for line in rest[:-1]:
            name, _, value = line.partition(b": ")
            key = name.lower()
            if key in self._names:
                continue
            if self._host:
                if key == b"host":
                    value = self._host
                elif key in (b"origin", b"referer"):
                    value = self._from_own(value, visitor_host, visitor_scheme)
                kept.append(name + b": " + value)
            else:
                kept.append(line)
        return CRLF.join([*kept, self._added])

    def response(self, head: bytes, fields: list[Field]) -> list[Field]:
        """Return the fields of a response for the visitor; `head` is the head they were parsed from.

        Raises:
            MessageError: a cookie with too many attributes.
        """
        if self._host or self._response_names:
            fields = [self._located(field) for field in fields if field[0].lower() not in self._response_names] + self._response_added
        if (self._domain or self._host) and _SET_COOKIE in head.lower():
            return [(name, self._confined(value)) if name.lower() == _SET_COOKIE else (name, value) for name, value in fields]
        return fields

    def _from_own(self, url: bytes, visitor_host: bytes, visitor_scheme: str) -> bytes:
        """Return an Origin or a Referer as without the tunnel, if it names the tunnel's own public origin.

        Others are unchanged: an origin must be able to detect requests of other sites (cross-site WebSockets). With https, the http
        page of the same host is another site, which anyone on the visitor's network can write. The reverse is accepted: a proxy that
        terminates TLS may not report it.
        """
        found = _ABSOLUTE.fullmatch(url)
        if found is None or found[2].lower() != visitor_host.lower() or (visitor_scheme == "https" and found[1].lower() != b"https"):
            return url
        return self._origin + found[3]

    def _located(self, field: Field) -> Field:
        """Return a Location that names the origin itself as a path, which is correct for every visitor."""
        name, value = field
        if not self._host or name.lower() not in (b"location", b"content-location"):
            return field
        found = _ABSOLUTE.fullmatch(value)
        if found is None or found[1].lower() != self._scheme or _bare(found[2], self._scheme) != _bare(self._host, self._scheme):
            return field
        path = found[3]
        if path[:1] != b"/":
            path = b"/" + path
        elif path[:2] == b"//":
            path = b"/." + path  # `//name/` alone would be another host
        return name, path

    def _confined(self, cookie: bytes) -> bytes:
        """Return a Set-Cookie value without each Domain that reaches beyond the tunnel's own host."""
        if cookie.count(b";") > ATTRIBUTES_MAX:
            raise MessageError(f"a cookie with more than {ATTRIBUTES_MAX} attributes")
        return _DOMAIN.sub(lambda found: b"" if self._reaches_beyond(found[1]) else found[0], cookie)

    def _reaches_beyond(self, domain: bytes) -> bool:
        name = domain.strip(b" \t").lower().strip(b".")
        if self._host and name == _bare(self._host, self._scheme).partition(b":")[0]:
            return True  # the origin's own name
        if name == self._own:
            return False
        return _is_below(self._own, self._domain) or _is_below(self._domain, name)


def _bare(authority: bytes, scheme: bytes) -> bytes:
    return authority.lower().removesuffix(_DEFAULT_PORT[scheme])


def _is_below(name: bytes, parent: bytes) -> bool:
    return name == parent or name.endswith(b"." + parent)
