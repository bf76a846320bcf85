"""Secrets leave heads, bodies and frames before anything is stored; everything else stays as it was."""

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portway.errors import ConfigError
from portway.inspector.redaction import Redaction, TooManyError

S = "CANARY7f3a91d2"
RULES = Redaction()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (f"Authorization: Bearer {S}", "Authorization: Bearer ***"),
        (f"authorization: {S}", "authorization: ***"),
        (f"Proxy-Authorization: Basic {S}", "Proxy-Authorization: Basic ***"),
        (f"Cookie: a={S}; b={S}", "Cookie: a=***; b=***"),
        (f"Set-Cookie: sid={S}; Path=/; Secure", "Set-Cookie: sid=***; Path=/; Secure"),
        (f"X-Api-Key: {S}", "X-Api-Key: ***"),
        (f"X-CSRF-Token: {S}", "X-CSRF-Token: ***"),
        (f"X-Amz-Security-Token: {S}", "X-Amz-Security-Token: ***"),
        (f"Referer: https://a/reset/{S}?x=1&token={S}", "Referer: https://a/reset/***?x=1&token=***"),
        (f"Sec-WebSocket-Protocol: base64url.bearer.{S}, chat", "Sec-WebSocket-Protocol: base64url.bearer.***, chat"),
        ("X-Any: eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl", "X-Any: ***"),
    ],
)
def test_fields_with_secrets(line: str, expected: str) -> None:
    head, names = RULES.head(f"GET / HTTP/1.1\r\nHost: a\r\n{line}\r\n\r\n".encode())

    assert head.decode() == f"GET / HTTP/1.1\r\nHost: a\r\n{expected}\r\n\r\n"
    assert names == [f"header {line.partition(':')[0]}"]


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (f"/a?token={S}&page=2", "/a?token=***&page=2"),
        (f"/reset/{S}", "/reset/***"),
        (f"/accounts/password/reset/confirm/MQ/{S}/", "/accounts/password/reset/confirm/MQ/***/"),
        (f"/verify-email/{S}?page=1", "/verify-email/***?page=1"),
        ("/articles/2024/11/how-to-reset", "/articles/2024/11/how-to-reset"),
        ("/reset/form", "/reset/form"),
    ],
)
def test_targets_with_secrets(target: str, expected: str) -> None:
    head, _ = RULES.head(f"GET {target} HTTP/1.1\r\nHost: a\r\n\r\n".encode())

    assert head.decode().split(" ")[1] == expected


@pytest.mark.parametrize(
    ("content_type", "body", "expected"),
    [
        ("application/json", f'{{"user": "ann", "password": "{S}"}}', '{"user": "ann", "password": "***"}'),
        ("application/json", f'{{"a": {{"apiToken":"{S}\\"{S}"}}}}', '{"a": {"apiToken":"***"}}'),
        ("application/json", f'{{"tokens": ["{S}", "{S}"], "x": 1}}', '{"tokens": ["***"], "x": 1}'),
        ("application/json", '{"pwd": 123456, "max_tokens": 512}', '{"pwd": "***", "max_tokens": 512}'),
        ("application/json", f'{{"nested": "{{\\"secret\\":\\"{S}\\"}}"}}', '{"nested": "{\\"secret\\":\\"***\\"}"}'),
        ("application/json", f'{{"client_secret":"{S}', '{"client_secret":"***'),
        ("application/json", '{"footprint": "a", "token_type": "bearer"}', '{"footprint": "a", "token_type": "bearer"}'),
        ("application/json", f'{{"link": "https://a/reset/{S}"}}', '{"link": "https://a/reset/***"}'),
        ("application/x-www-form-urlencoded", f"a=1&password={S}", "a=1&password=***"),
        ("application/xml", f"<u><password>{S}</password></u>", "<u><password>***</password></u>"),
        ("text/html", f'<a href="/x?access_token={S}">token: a</a>', '<a href="/x?access_token=***">token: a</a>'),
        ("application/javascript", "const token = read(); a.token=b.token;", "const token = read(); a.token=b.token;"),
        ("image/png", f"password={S}", f"password={S}"),
    ],
)
def test_bodies_with_secrets(content_type: str, body: str, expected: str) -> None:
    found, _ = RULES.body(body.encode(), content_type.encode())

    assert found.decode() == expected


def test_redacted_json_is_still_json() -> None:
    data = {"password": 1, "secret": [1, 2], "api_key": None, "token": "x", "otp": True, "list": [{"passwd": "a"}]}
    found, _ = RULES.body(json.dumps(data).encode(), b"application/json")

    assert json.loads(found)["list"] == [{"passwd": "***"}]


def test_multipart_fields_with_secrets() -> None:
    part = f'--b\r\nContent-Disposition: form-data; name="password"\r\n\r\n{S}\r\n--b--\r\n'
    found, names = RULES.body(part.encode(), b"multipart/form-data; boundary=b")

    assert found == part.replace(S, "***").encode()
    assert names == ["body password"]


def test_own_names_are_redacted_everywhere() -> None:
    rules = Redaction(["x-internal-*", "customer_no"])
    head, _ = rules.head(f"GET /?customer_no={S} HTTP/1.1\r\nX-Internal-Id: {S}\r\nX-Other: a\r\n\r\n".encode())
    body, _ = rules.body(f'{{"customer_no": "{S}", "customer_notes": "a"}}'.encode(), b"application/json")

    assert head == b"GET /?customer_no=*** HTTP/1.1\r\nX-Internal-Id: ***\r\nX-Other: a\r\n\r\n"
    assert body == b'{"customer_no": "***", "customer_notes": "a"}'


@pytest.mark.parametrize("pattern", ["", "*", "a*", "x y", "x" * 81])
def test_invalid_names(pattern: str) -> None:
    with pytest.raises(ConfigError, match="invalid name"):
        Redaction([pattern])


def test_disabled_rules_change_nothing() -> None:
    rules = Redaction(enabled=False)

    assert rules.head(b"GET /?token=a HTTP/1.1\r\nCookie: a=b\r\n\r\n") == (b"GET /?token=a HTTP/1.1\r\nCookie: a=b\r\n\r\n", [])
    assert rules.message(b'{"password":"a"}') == (b'{"password":"a"}', False)


@given(st.binary(max_size=300))
def test_noise_never_raises(data: bytes) -> None:
    RULES.head(data)
    for kind in (b"application/json", b"text/html", b"", b"application/x-www-form-urlencoded"):
        RULES.body(data, kind)
    RULES.message(data)


@pytest.mark.parametrize(
    "piece", [b'"token":"a",', b"token", b'"password":"', b"/reset/a/b/c/d/e/f/", b"password=\\\\\\", b"eyJaaaaaa.", b"a@b:"]
)
def test_the_cost_is_linear(piece: bytes) -> None:
    def seconds(size: int) -> float:
        data = piece * (size // len(piece))
        began = time.process_time()
        try:
            RULES.body(b"/" + data, b"application/json")
        except TooManyError:
            pass
        return time.process_time() - began

    seconds(10_000)
    assert seconds(800_000) < 1.5, "quadratic, this is minutes"


def test_a_body_with_too_many_keys_is_not_stored() -> None:
    data = b'{"token":"a"},' * 30_000

    with pytest.raises(TooManyError):
        RULES.body(data, b"application/json")
    assert RULES.message(data) == (b"", True)
