"""Which authentication belongs to a connection."""

import pytest

from portway.protocol.http1.authentication import authenticates_connection, continues_on_connection
from portway.protocol.http1.fields import Field


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"Negotiate YII=", True),
        (b"negotiate YII=", True),
        (b"NTLM TlRMTVNTUAABAAAA", True),
        (b"Kerberos abc", True),
        (b"Nego2 abc", True),
        (b"SomethingNew abc", True),
        (b"nothing-but-a-key", True),
        (b"", True),
        (b"Basic dTpw", False),
        (b"BEARER abc", False),
        (b'Digest username="u"', False),
        (b"AWS4-HMAC-SHA256 Credential=x", False),
        (b"Token abc", False),
    ],
)
def test_credentials_of_an_unknown_scheme_count_as_the_connections(value: bytes, expected: bool) -> None:
    fields: list[Field] = [(b"Host", b"a"), (b"X-Authorization", value), (b"AUTHORIZATION", value)]
    assert authenticates_connection(fields) is expected
    assert authenticates_connection([*fields, (b"Authorization", b"NTLM x")])
    assert not authenticates_connection(fields[:2])


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        (b"WWW-Authenticate", b"Negotiate", False),
        (b"WWW-Authenticate", b"Negotiate, NTLM", False),
        (b"WWW-Authenticate", b'Basic realm="a b", Negotiate', False),
        (b"WWW-Authenticate", b'Digest nonce="a", qop="auth"', False),
        (b"WWW-Authenticate", b"Bearer abc", False),
        (b"WWW-Authenticate", b"NTLM TlRMTVNTUAACAAAA==", True),
        (b"www-authenticate", b'Basic realm="x", Negotiate oYG2MIGz', True),
        (b"Persistent-Auth", b"true", True),
        (b"persistent-auth", b"", True),
        (b"Persistent-Auth", b"False", False),
        (b"Persistent-Author", b"true", False),
    ],
)
def test_a_handshake_in_the_middle_and_one_that_lasts_go_on_with_the_connection(name: bytes, value: bytes, expected: bool) -> None:
    assert continues_on_connection([(b"Content-Type", b"text/html"), (name, value)]) is expected
