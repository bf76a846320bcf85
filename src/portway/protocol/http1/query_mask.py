"""Masks possible secrets in a query before it is displayed."""

import re

MASK = b"***"
_SECRET = re.compile(
    rb"(?:token|secret|passw|pwd|api[_-]?key|auth|signature|credential|session|jwt|bearer|assertion|ticket|nonce|(?:^|[_.\-\[])"
    rb"(?:key|code|sig|sid|otp|pin|hash|hmac|state|access|refresh)\]?$)",
    re.IGNORECASE,
)
"""Names of parameters that may contain a secret: rather too many than too few."""


def mask_query(query: bytes) -> bytes:
    """Return a query (without `?`) with the values of such parameters masked."""
    if _SECRET_ANYWHERE.search(query) is None:
        return query
    return b"&".join([_masked(pair) for pair in query.split(b"&")])


_SECRET_ANYWHERE = re.compile(_SECRET.pattern.replace(rb"(?:^|[_.\-\[])", b"").replace(rb"\]?$", b""), re.IGNORECASE)
"""Matches queries that may have such a name; most do not, and need not be split."""


def _masked(pair: bytes) -> bytes:
    name, equals, value = pair.partition(b"=")
    return name + equals + MASK if value and _SECRET.search(name) is not None else pair
