"""Checks the head changes that an agent requests for its tunnel, and creates the rewriter for them."""

import re
from collections.abc import Sequence

from portway.errors import PeerError, RefusedError
from portway.protocol.control.codes import INVALID_FIELD
from portway.protocol.control.messages import FieldChange, HeadRewrite
from portway.protocol.http1.rewriting import Change, HeadRewriter
from portway.protocol.names import split_authority

_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,128}", re.ASCII)
_VALUE = re.compile(r"[\t -~\x80-\xff]*")

_OF_A_HOP = frozenset(
    [
        "connection",
        "content-length",
        "expect",
        "http2-settings",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    ]
)
"""Framing and hop-by-hop fields: each hop writes its own."""
_NOT_IN_REQUESTS = _OF_A_HOP | frozenset(
    ["host", "cdn-loop", "forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-port", "x-forwarded-proto", "x-request-start"]
)
_NOT_IN_RESPONSES = _OF_A_HOP | {"portway-error"}


def check_rewrite(rewrite: HeadRewrite) -> None:
    """Check that a rewrite is valid.

    Raises:
        RefusedError: `invalid_field`, with the field or host and the expected form.
    """
    if rewrite.host:
        try:
            split_authority(rewrite.host)
        except PeerError as exc:
            raise RefusedError(INVALID_FIELD, f"host for the origin: {exc}", "Give a host name, or host:port.") from exc
    for changes, forbidden, what in ((rewrite.request, _NOT_IN_REQUESTS, "request"), (rewrite.response, _NOT_IN_RESPONSES, "response")):
        for name, value in changes:
            _check(name, value, forbidden, what)


def rewriter_of(
    address: str, domain: str, rewrite: HeadRewrite | None, *, dropped: Sequence[bytes] = (), authorization: bool = True
) -> HeadRewriter:
    """Return the rewriter for the tunnel at host `address` of a server whose tunnels share `domain`; `rewrite` was checked.

    It removes the `dropped` fields from responses, too, and from requests Authorization unless `authorization` is to be forwarded.
    """
    removals = [(name, None) for name in dropped]
    removals_in_requests: list[Change] = [] if authorization else [(b"Authorization", None)]
    if rewrite is None:
        return HeadRewriter(address, domain, request=removals_in_requests, response=removals)
    return HeadRewriter(
        address,
        domain,
        host=rewrite.host.encode("latin-1"),
        scheme=rewrite.scheme.encode("ascii"),
        request=[*(_encoded(change) for change in rewrite.request), *removals_in_requests],
        response=[*(_encoded(change) for change in rewrite.response), *removals],
    )


def _check(name: str, value: str | None, forbidden: frozenset[str], what: str) -> None:
    quoted = ascii(name[:80])
    if _NAME.fullmatch(name) is None:
        raise RefusedError(INVALID_FIELD, f"invalid {what} field name {quoted}", "Use letters, digits and hyphens, without a colon.")
    if name.lower() in forbidden:
        raise RefusedError(
            INVALID_FIELD, f"the {what} field {quoted} is written by the server itself", "Omit it; --host-header changes Host."
        )
    if value is not None and (_VALUE.fullmatch(value) is None or value != value.strip(" \t")):
        raise RefusedError(
            INVALID_FIELD, f"invalid value of {what} field {quoted}", "Use printable Latin-1 characters, without line breaks."
        )


def _encoded(change: FieldChange) -> Change:
    name, value = change
    return name.encode("ascii"), None if value is None else value.encode("latin-1")
