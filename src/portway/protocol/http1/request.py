"""Parses request heads into what is forwarded to origins."""

import re
from collections.abc import Iterator
from typing import NamedTuple

from portway.errors import PeerError
from portway.protocol.http1.connection import connection_options, keeps_alive, without_nominated
from portway.protocol.http1.errors import MessageError
from portway.protocol.http1.field_rules import DROP, UNTRUSTED, FieldRules
from portway.protocol.http1.fields import Field, parse_fields
from portway.protocol.http1.framing import NO_BODY, Body, quoted, request_body
from portway.protocol.http1.trailers import accepts_trailers, allowed_trailer_names
from portway.protocol.http1.trusted_proxies import Hops
from portway.protocol.http1.upgrade import allowed_protocols
from portway.protocol.names import split_authority


class RequestHead(NamedTuple):
    """A request that may be forwarded. Hop-by-hop and framing fields are not in `fields`."""

    method: bytes
    target: bytes
    """In origin form (or `*`), otherwise unchanged."""
    version: int
    """10 or 11."""
    host: bytes
    """The requested host as spelled, not normalised."""
    fields: list[Field]
    """End-to-end fields in order, without Host, and the fields that identify this server."""
    body: Body
    """See `framing`."""
    keep_alive: bool
    """Whether the visitor allows further requests on the connection."""
    expects_continue: bool
    """Whether the visitor waits for 100 (Continue) before the body."""
    upgrade: bytes | None
    """The requested protocols of an upgrade, else None."""
    accepts_trailers: bool = False
    """Whether the visitor accepts trailers, according to TE."""
    hops: Hops | None = None
    """What a trusted proxy reports about the request; None from any other peer."""

    def value(self, name: bytes) -> bytes:
        """Return the values of a field (`name` in lower case) joined by comma, empty when absent."""
        return b", ".join([value for key, value in self.fields if key.lower() == name])


# RFC 9112 section 3: one space, no other white space; "#" begins a fragment, which is never sent.
_START_LINE = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]{1,32}) ([!\"$-~]+) HTTP/1\.([01])\r\n")
_ORIGIN_FORM = re.compile(rb"/[!\"$-~]*")
_ABSOLUTE = re.compile(rb"[Hh][Tt][Tt][Pp][Ss]?://([^/?]*)(.*)")
_ANY_VERSION = re.compile(rb"[^\r\n]* HTTP/([0-9](?:\.[0-9])?)\r\n")


def parse_request_head(head: bytes, rules: FieldRules = UNTRUSTED) -> RequestHead:
    """Return the request of a complete head (with its final empty line); `rules` decide which fields are forwarded.

    Raises:
        MessageError: it violates a rule; the code selects the error response.
    """
    if head[:2] == b"\r\n":
        head = head[2:]  # RFC 9112 section 2.2: an empty line before a request is to be ignored
    start = _START_LINE.match(head)
    if start is None:
        raise _bad_start(head)
    method, target, minor = start.groups()
    version = 11 if minor == b"1" else 10
    kept, taken = _sorted_out(head, start.end(), rules)
    if method == b"CONNECT":
        raise MessageError("CONNECT, which only forward proxies support", "method_not_allowed")
    host = taken.get(b"host")
    if target[0] != 0x2F:
        target, host = _other_form(method, target, host, version)
    if host is None or b"\n" in host:
        raise MessageError("missing or repeated Host field: expected exactly one")
    body = request_body(taken.get(b"content-length"), taken.get(b"transfer-encoding"), version)
    options = connection_options(taken.get(b"connection"))
    expect = taken.get(b"expect")
    if expect is not None and expect.lower() != b"100-continue":
        raise MessageError(f"unsupported Expect {quoted(expect)}: expected 100-continue", "expectation_failed")
    return RequestHead(
        method,
        target,
        version,
        host,
        [*without_nominated(kept, options), *_own_fields(taken, rules, version)],
        body,
        keeps_alive(options, version),
        expect is not None and body != NO_BODY and version == 11,
        allowed_protocols(taken.get(b"upgrade")) if b"upgrade" in options and version == 11 else None,
        version == 11 and accepts_trailers(taken.get(b"te")),
        None if rules.proxies is None else rules.proxies.parse(taken),
    )


def is_origin_form(target: bytes) -> bool:
    """Return whether `target` is a path, with an optional query: its meaning does not depend on the rest of the head."""
    return _ORIGIN_FORM.fullmatch(target) is not None


def _sorted_out(head: bytes, start: int, rules: FieldRules) -> tuple[list[Field], dict[bytes, bytes]]:
    """Return the end-to-end fields, and the others by lower-case name, with the values of repeated fields joined by LF."""
    known, decide = rules.known, rules.decide
    kept: list[Field] = []
    taken: dict[bytes, bytes] = {}
    for field in parse_fields(head, start, rules.limits):
        name = field[0]
        fate = known[name] if name in known else decide(name)
        if fate is None:
            kept.append(field)
        elif fate != DROP:
            taken[fate] = taken[fate] + b"\n" + field[1] if fate in taken else field[1]
    return kept, taken


def _other_form(method: bytes, target: bytes, host: bytes | None, version: int) -> tuple[bytes, bytes | None]:
    """Return target and Host of a request that is not in origin form.

    The host of an absolute target overrides Host (RFC 9112 section 3.2.2); HTTP/1.1 still requires a valid Host.

    Raises:
        MessageError: neither `*` nor absolute, or Host is missing or invalid.
    """
    if target == b"*" and method == b"OPTIONS":
        return target, host
    absolute = _ABSOLUTE.fullmatch(target)
    if absolute is None:
        raise MessageError(f"invalid request target {quoted(target)}: expected a path that starts with /")
    authority, rest = absolute.groups()
    if host is None and version == 11:
        return target, None
    if host:
        if b"\n" in host:
            return target, host
        _check_host(host)
    _check_host(authority)
    if rest[:1] == b"/":
        return rest, authority
    if not rest and method == b"OPTIONS":
        return b"*", authority
    return b"/" + rest, authority


def _check_host(host: bytes) -> None:
    """Raise MessageError unless `host` is a `host[:port]`."""
    try:
        split_authority(host)
    except PeerError as exc:
        raise MessageError(str(exc)) from exc


def _own_fields(taken: dict[bytes, bytes], rules: FieldRules, version: int) -> Iterator[Field]:
    """Return the fields that are rewritten or added: Trailer, CDN-Loop (RFC 8586), and Via (RFC 9110 section 7.6.3) if configured.

    Raises:
        MessageError: the request has passed this server before.
    """
    trailer = allowed_trailer_names(taken.get(b"trailer"))
    if trailer is not None and version == 11:
        yield b"Trailer", trailer
    if rules.server_id:
        before = taken.get(b"cdn-loop", b"").replace(b"\n", b", ")
        if rules.server_id in before:
            raise MessageError("the request returned to this server", "loop_detected")
        yield b"CDN-Loop", before + b", " + rules.server_id if before else rules.server_id
    if rules.via:
        yield b"Via", (b"1.1 " if version == 11 else b"1.0 ") + rules.via


def _bad_start(head: bytes) -> MessageError:
    """Return the error for a start line that did not match."""
    version = _ANY_VERSION.match(head)
    if version is not None and version[1] not in (b"1.1", b"1.0"):
        return MessageError("a version that is neither HTTP/1.1 nor HTTP/1.0", "version_unsupported")
    return MessageError("invalid request line: expected METHOD SP TARGET SP HTTP/1.1")
