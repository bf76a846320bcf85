"""Fields that are lists (RFC 9110 section 5.6.1)."""

from portway.protocol.http1.errors import MessageError

MEMBERS_MAX = 256
"""Members of a list, including empty ones: more than any sender needs, because a message has at most 100 trailers and 500 fields. Each
costs half a microsecond or more, and a head could contain 50,000."""


def members(value: bytes) -> list[bytes]:
    """Return the non-empty members of a list. Values of repeated fields are joined by LF.

    Raises:
        MessageError: there are too many.
    """
    if value.count(b",") + value.count(b"\n") >= MEMBERS_MAX:
        raise MessageError(f"a list of more than {MEMBERS_MAX} members in one field")
    return [item for part in value.replace(b"\n", b",").split(b",") if (item := part.strip(b" \t"))]
