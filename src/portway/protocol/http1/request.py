"""Request heads: bytes in, what to forward out."""

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
    """A request that may be forwarded. Everything of this hop only, and all framing, is out of `fields` already."""

    method: bytes
    target: bytes
    """In origin form (or `*`), untouched otherwise."""
    version: int
    """10 or 11."""
    host: bytes
    """The host that is meant, as it was spelled; not normalised yet."""
    fields: list[Field]
    """What goes end to end, in order, without Host, and what this server adds about itself."""
    body: Body
    """See `framing`."""
    keep_alive: bool
    """Whether the visitor wants to keep the connection."""
    expects_continue: bool
    """Whether the visitor waits for 100 (Continue) before the body."""
    upgrade: bytes | None
    """The protocols that the visitor asks to switch to, else None."""
    accepts_trailers: bool = False
    """Whether TE says that the visitor accepts trailers."""
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
    """Return what a whole head (with its last empty line) asks for; `rules` say which of its fields go on.

    Raises:
        MessageError: it breaks a rule; the message says which, its code says how to answer.
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
        raise MessageError("CONNECT, which only a forward proxy understands", "method_not_allowed")
    host = taken.get(b"host")
    if target[0] != 0x2F:
        target, host = _other_form(method, target, host, version)
    if host is None or b"\n" in host:
        raise MessageError("no Host field, or several: expected exactly one")
    body = request_body(taken.get(b"content-length"), taken.get(b"transfer-encoding"), version)
    options = connection_options(taken.get(b"connection"))
    expect = taken.get(b"expect")
    if expect is not None and expect.lower() != b"100-continue":
        raise MessageError(f"Expect {quoted(expect)}, only 100-continue can be met", "expectation_failed")
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
    """Return whether `target` is a path, perhaps with a query: what means the same whatever else a head says."""
    return _ORIGIN_FORM.fullmatch(target) is not None


def _sorted_out(head: bytes, start: int, rules: FieldRules) -> tuple[list[Field], dict[bytes, bytes]]:
    """Return the fields that go end to end, and the others by lower-case name; of a repeated one all values, joined by LF."""
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

    An absolute target says which host is meant, whatever Host says (RFC 9112 section 3.2.2); HTTP/1.1 still asks for one that is valid.

    Raises:
        MessageError: neither `*` nor absolute, or Host is missing or invalid.
    """
    if target == b"*" and method == b"OPTIONS":
        return target, host
    absolute = _ABSOLUTE.fullmatch(target)
    if absolute is None:
        raise MessageError(f"request target {quoted(target)}, expected a path that starts with /")
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
    """Raise MessageError unless it is a `host[:port]`."""
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
            raise MessageError("it came back to this server", "loop_detected")
        yield b"CDN-Loop", before + b", " + rules.server_id if before else rules.server_id
    if rules.via:
        yield b"Via", (b"1.1 " if version == 11 else b"1.0 ") + rules.via


def _bad_start(head: bytes) -> MessageError:
    """Say what is wrong with a start line that did not match."""
    version = _ANY_VERSION.match(head)
    if version is not None and version[1] not in (b"1.1", b"1.0"):
        return MessageError("a version that is neither HTTP/1.1 nor HTTP/1.0", "version_unsupported")
    return MessageError("not a request line, expected METHOD SP TARGET SP HTTP/1.1")
