"""Refusal codes: stable codes for programs, with their descriptions."""

from types import MappingProxyType
from typing import Final

BAD_CREDENTIALS: Final = "bad_credentials"
TOKEN_REVOKED: Final = "token_revoked"  # noqa: S105 - a code, not a token
TOKEN_EXPIRED: Final = "token_expired"  # noqa: S105 - see above
WRONG_PIN: Final = "wrong_pin"
WRONG_CERTIFICATE: Final = "wrong_certificate"
VERSION_UNSUPPORTED: Final = "version_unsupported"
NAME_TAKEN: Final = "name_taken"
NAME_IN_USE: Final = "name_in_use"
INVALID_NAME: Final = "invalid_name"
INVALID_FIELD: Final = "invalid_field"
INVALID_ACCESS: Final = "invalid_access"
ACCESS_UNSUPPORTED: Final = "access_unsupported"
RESERVED_NAME: Final = "reserved_name"
HOST_NOT_ALLOWED: Final = "host_not_allowed"
PORT_NOT_ALLOWED: Final = "port_not_allowed"
PROTOCOL_NOT_ALLOWED: Final = "protocol_not_allowed"
TOO_MANY_TUNNELS: Final = "too_many_tunnels"
PORT_TAKEN: Final = "port_taken"
NO_FREE_PORT: Final = "no_free_port"
BAD_TICKET: Final = "bad_ticket"
MISDIRECTED: Final = "misdirected"
REPLACED: Final = "replaced"
DRAINING: Final = "draining"
TOO_MANY_LOGINS: Final = "too_many_logins"
BAD_MESSAGE: Final = "bad_message"
NOT_LOGGED_IN: Final = "not_logged_in"
SPEED_TEST_OFF: Final = "speed_test_off"
SPEED_TEST_BUSY: Final = "speed_test_busy"
SPEED_TEST_TOO_LARGE: Final = "speed_test_too_large"

DESCRIPTIONS: Final = MappingProxyType(
    {
        # Authentication: one code for a wrong secret, an unknown token and a wrong binding, so that guessing reveals nothing.
        BAD_CREDENTIALS: "the token, its secret or the connection that it was used on is not the right one",
        TOKEN_REVOKED: "the token was revoked",
        TOKEN_EXPIRED: "the token has expired",
        WRONG_PIN: "the server's certificate is not the one that the join string names",
        WRONG_CERTIFICATE: "no authority that the agent trusts vouches for the server's certificate",
        VERSION_UNSUPPORTED: "the two programs share no version of the protocol",
        # Claims.
        NAME_TAKEN: "the name belongs to somebody else",
        NAME_IN_USE: "another live session of the same identity holds the name",
        INVALID_NAME: "the name cannot be a host name",
        INVALID_FIELD: "the server cannot set or remove this field",
        INVALID_ACCESS: "the access rules of the tunnel are invalid",
        ACCESS_UNSUPPORTED: "the server is too old to enforce the access rules of the tunnel",
        RESERVED_NAME: "the name is kept for the server itself",
        HOST_NOT_ALLOWED: "the token may not use this host name",
        PORT_NOT_ALLOWED: "the token or the server does not allow this port",
        PROTOCOL_NOT_ALLOWED: "the token or the server does not allow this protocol",
        TOO_MANY_TUNNELS: "the token holds as many tunnels as it may",
        PORT_TAKEN: "the port belongs to somebody else",
        NO_FREE_PORT: "every port of the server's range is in use",
        # Protocol.
        BAD_TICKET: "the ticket is unknown, used, too old, or of another session",
        MISDIRECTED: "the link came to another process of the server than its session",
        REPLACED: "another session of the same identity took the name over",
        DRAINING: "the server is shutting down and takes nothing new",
        TOO_MANY_LOGINS: "too many logins failed or are under way from this address",
        BAD_MESSAGE: "a message could not be understood",
        NOT_LOGGED_IN: "a message came that needs a login first",
        # Speed tests.
        SPEED_TEST_OFF: "the server's operator allows no speed tests",
        SPEED_TEST_BUSY: "a speed test of this session, or as many as the server takes, are under way",
        SPEED_TEST_TOO_LARGE: "the speed test has more streams or takes longer than the server allows",
    }
)
"""Code → description as a phrase, for peers that sent no reason. The texts are part of the golden vectors (codes.json)."""

FINAL: Final = frozenset({TOKEN_REVOKED, TOKEN_EXPIRED, WRONG_PIN, REPLACED, NAME_IN_USE})
"""Refusals that end an agent even after it was online: a deliberate decision, or another agent of the same user has the name.
All other refusals of an agent that was online with the same join string may be resolved by the server's operator."""

RETRYABLE: Final = frozenset({MISDIRECTED, DRAINING, TOO_MANY_LOGINS, SPEED_TEST_BUSY})
"""Codes that do not concern the agent: it retries with its usual back-off. All other codes are final for an agent that was never online."""
