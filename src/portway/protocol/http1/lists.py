"""Fields that are lists (RFC 9110 section 5.6.1)."""

from portway.protocol.http1.errors import MessageError

MEMBERS_MAX = 256
"""Members of a list, empty ones included: more than any sender has a use for, as 100 trailers and 500 fields are all that a message
may have. Each costs half a microsecond or more, and a head has room for 50,000."""


def members(value: bytes) -> list[bytes]:
    """Return the members of a list that are not empty; the values of several fields come joined by LF.

    Raises:
        MessageError: there are too many.
    """
    if value.count(b",") + value.count(b"\n") >= MEMBERS_MAX:
        raise MessageError(f"a list of more than {MEMBERS_MAX} members in one field")
    return [item for part in value.replace(b"\n", b",").split(b",") if (item := part.strip(b" \t"))]
