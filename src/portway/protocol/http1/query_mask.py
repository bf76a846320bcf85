"""Masks values in a query that may be secrets, before it is shown to anybody."""

import re

MASK = b"***"
_SECRET = re.compile(
    rb"(?:token|secret|passw|pwd|api[_-]?key|auth|signature|credential|session|jwt|bearer|assertion|ticket|nonce|(?:^|[_.\-\[])"
    rb"(?:key|code|sig|sid|otp|pin|hash|hmac|state|access|refresh)\]?$)",
    re.IGNORECASE,
)
"""Names of parameters whose value opens something: too many rather than too few."""


def mask_query(query: bytes) -> bytes:
    """Return a query (without `?`) in which the values of parameters with such names are masked."""
    if _SECRET_ANYWHERE.search(query) is None:
        return query
    return b"&".join([_masked(pair) for pair in query.split(b"&")])


_SECRET_ANYWHERE = re.compile(_SECRET.pattern.replace(rb"(?:^|[_.\-\[])", b"").replace(rb"\]?$", b""), re.IGNORECASE)
"""Whether a query could have such a name at all: most have none, and are not split."""


def _masked(pair: bytes) -> bytes:
    name, equals, value = pair.partition(b"=")
    return name + equals + MASK if value and _SECRET.search(name) is not None else pair
