"""Detects authentication of connections instead of requests (RFC 4559 section 6)."""

import re

from portway.protocol.http1.fields import Field

_OF_ONE_REQUEST = frozenset(
    {
        # IANA's registry of HTTP authentication schemes, without Negotiate.
        *(b"basic", b"bearer", b"concealed", b"digest", b"dpop", b"gnap", b"hoba", b"mutual", b"oauth", b"privatetoken"),
        *(b"scram-sha-1", b"scram-sha-256", b"vapid"),
        # Not registered, but common in APIs, and sent with each request.
        *(b"apikey", b"api-key", b"aws4-hmac-sha256", b"hawk", b"sharedkey", b"token"),
    }
)
"""Schemes that authenticate single requests. Others may not: NTLM, Negotiate and Kerberos authenticate the connection, and all further
requests on it are the user's, without any credentials."""

CHALLENGE_PARTS_MAX = 256
"""Challenges and parameters that are parsed per field."""
_WITH_TOKEN = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+) +[A-Za-z0-9\-._~+/]+=*")
"""A challenge with data instead of parameters: a handshake that continues on this connection."""


def authenticates_connection(fields: list[Field]) -> bool:
    """Return whether a request's credentials may authenticate its connection."""
    for name, value in fields:
        if len(name) == 13 and name.lower() == b"authorization" and value.partition(b" ")[0].lower() not in _OF_ONE_REQUEST:
            return True
    return False


def continues_on_connection(fields: list[Field]) -> bool:
    """Return whether a response binds its authentication to the connection: a pending handshake, or a persistent one."""
    for name, value in fields:
        size = len(name)
        if size == 15 and name.lower() == b"persistent-auth":
            if value.lower() != b"false":
                return True
        elif size == 16 and name.lower() == b"www-authenticate":
            if value.count(b",") > CHALLENGE_PARTS_MAX:
                return True  # no real server sends so many, and the unread rest is unknown
            for item in value.split(b","):
                challenge = _WITH_TOKEN.fullmatch(item.strip(b" \t"))
                if challenge is not None and challenge[1].lower() not in _OF_ONE_REQUEST:
                    return True
    return False
