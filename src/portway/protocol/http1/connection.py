"""The Connection field: options of this hop, and names of fields that are not forwarded (RFC 9110 section 7.6.1)."""

import re

from portway.protocol.http1.errors import MessageError
from portway.protocol.http1.fields import Field
from portway.protocol.http1.lists import members

_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+")
_NOTHING: frozenset[bytes] = frozenset()
_COMMON = {
    b"keep-alive": frozenset({b"keep-alive"}),
    b"Keep-Alive": frozenset({b"keep-alive"}),
    b"close": frozenset({b"close"}),
    b"Upgrade": frozenset({b"upgrade"}),
    b"upgrade": frozenset({b"upgrade"}),
    b"keep-alive, Upgrade": frozenset({b"keep-alive", b"upgrade"}),
}
"""Parsed values of nearly all clients."""
_OPTIONS = frozenset({b"keep-alive", b"close", b"upgrade"})


def connection_options(value: bytes | None) -> frozenset[bytes]:
    """Return the options and nominated names in lower case. Values of repeated fields are joined by LF.

    Raises:
        MessageError: a member is not a token, or there are too many.
    """
    if value is None:
        return _NOTHING
    options = _COMMON.get(value)
    if options is not None:
        return options
    found = frozenset(members(value.lower()))
    for item in found:
        if _TOKEN.fullmatch(item) is None:
            raise MessageError("invalid Connection field: a member is not a token")
    return found


def without_nominated(fields: list[Field], options: frozenset[bytes]) -> list[Field]:
    """Return `fields` without those that Connection names.

    The edge adds its own fields later, so they cannot be removed by nomination (threats H2).
    """
    if options <= _OPTIONS:
        return fields
    return [field for field in fields if field[0].lower() not in options]


def keeps_alive(options: frozenset[bytes], version: int) -> bool:
    """Return whether the connection may carry another message after this one (RFC 9112 section 9.3)."""
    return b"close" not in options and (version == 11 or b"keep-alive" in options)
