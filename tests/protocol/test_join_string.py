"""Join strings: round trip, helpful refusals, and a secret that never shows."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portway.errors import ConfigError
from portway.protocol.join_string import JoinString, parse

PIN = bytes(range(32))
SECRET = "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3I"
BASE = f"portway://laptop.{SECRET}@tunnel.example.org:4443"

word = st.text("abcdefghijklmnopqrstuvwxyzABCXYZ0123456789-_", min_size=22, max_size=43)
join_strings = st.builds(
    lambda token_id, secret, host, port, way: JoinString(token_id, secret, host, port, *way),
    word,
    word,
    st.sampled_from(["tunnel.example.org", "localhost", "192.0.2.1", "::1", "2001:db8::a", "my_service"]),
    st.integers(1, 65535),
    st.tuples(st.none(), st.booleans()) | st.tuples(st.binary(min_size=32, max_size=32), st.just(value=False)),
)


@given(join=join_strings)
def test_every_join_string_survives_paper(join: JoinString) -> None:
    assert parse(str(join)) == join


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"{BASE}?pin=sha256:{PIN.hex()}", JoinString("laptop", SECRET, "tunnel.example.org", 4443, PIN)),
        (f"  {BASE}?pin=sha256:{PIN.hex().upper()}\r\n", JoinString("laptop", SECRET, "tunnel.example.org", 4443, PIN)),
        (BASE, JoinString("laptop", SECRET, "tunnel.example.org", 4443)),
        (
            f"portway://laptop.\n{SECRET[:9]}\r\n    {SECRET[9:]}@tunnel.exam\nple.org:44\n43?pi\nn=sha256:\t\r\n  {PIN.hex()}\n",
            JoinString("laptop", SECRET, "tunnel.example.org", 4443, PIN),
        ),
        (f"{BASE}\n?pin=sha256:{PIN.hex()}", JoinString("laptop", SECRET, "tunnel.example.org", 4443, PIN)),
        (f"{BASE}/", JoinString("laptop", SECRET, "tunnel.example.org", 4443)),
        (f"{BASE}?", JoinString("laptop", SECRET, "tunnel.example.org", 4443)),
        (f"{BASE}?links=plaintext", JoinString("laptop", SECRET, "tunnel.example.org", 4443, plaintext=True)),
        (f"portway://laptop.{SECRET}@[2001:DB8::1]:1", JoinString("laptop", SECRET, "2001:db8::1", 1)),
        (f"portway://laptop.{SECRET}@Tunnel.Example.ORG.:1", JoinString("laptop", SECRET, "tunnel.example.org", 1)),
    ],
)
def test_it_is_read_as_documented(text: str, expected: JoinString) -> None:
    assert parse(text) == expected


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "invalid join string"),
        ("https://example.org", "invalid join string"),
        (BASE.replace("portway", "PORTWAY"), "invalid join string"),
        (BASE.replace(":4443", ""), "invalid join string"),
        (BASE.replace(":4443", ":"), "invalid join string"),
        (BASE.replace(":4443", ":\uff14\uff14\uff14\uff13"), "invalid join string"),
        (BASE.replace("laptop.", ""), "invalid join string"),
        (BASE.replace(":4443", ":0"), "port 0"),
        (BASE.replace(":4443", ":65536"), "port 65536"),
        (BASE.replace("laptop", "lap top"), "token id"),
        (BASE.replace("laptop", "x" * 65), "token id"),
        (BASE.replace(SECRET, "short"), "secret of 5 characters"),
        (BASE.replace(SECRET, SECRET + "="), "secret of 44 characters"),
        (BASE.replace("tunnel.example.org", "tunnel..org"), "host"),
        (BASE.replace("tunnel.example.org", "[::x]"), "host"),
        (BASE.replace("tunnel.example.org", "bücher.example"), "host"),
        (f"{BASE}?pin=sha256:{PIN.hex()[:-2]}", "'pin'"),
        (f"{BASE}?pin=sha1:{PIN.hex()}", "'pin'"),
        (f"{BASE}?pin=sha256:{PIN.hex()}&pin=sha256:{PIN.hex()}", "'pin'"),
        (f"{BASE}?links=plaintext&pin=sha256:{PIN.hex()}", "no certificate to pin"),
        (f"{BASE}?links=tls", "'links'"),
        (f"{BASE}?insecure=1", "'insecure'"),
        (f"{BASE}\nportway://", "invalid join string"),
    ],
)
def test_a_broken_one_is_refused_with_a_reason_and_without_its_secret(text: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason) as caught:
        parse(text)
    assert SECRET not in str(caught.value)
    assert caught.value.exit_code == 2


@given(join=join_strings, cuts=st.lists(st.integers(0, 200), max_size=8), breaks=st.sampled_from(["\n", "\r\n", "\n  ", " \n\n\t"]))
def test_no_line_break_loses_a_part(join: JoinString, cuts: list[int], breaks: str) -> None:
    text = str(join)
    for cut in sorted((cut % (len(text) + 1) for cut in cuts), reverse=True):
        text = text[:cut] + breaks + text[cut:]

    assert parse(text) == join


def test_two_join_strings_are_not_taken_for_one() -> None:
    for first in (BASE, f"{BASE}?pin=sha256:{PIN.hex()}", f"{BASE}?links=plaintext"):
        with pytest.raises(ConfigError):
            parse(f"{first}\n{BASE}")


@given(noise=st.text(max_size=80) | st.text("portway:/.@?=&[]0a", max_size=80).map("portway://".__add__))
def test_noise_is_refused(noise: str) -> None:
    with pytest.raises(ConfigError):
        parse(noise)


def test_a_secret_in_the_wrong_place_is_not_repeated() -> None:
    with pytest.raises(ConfigError) as caught:
        parse(f"{BASE}?{SECRET}")
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    "text", [f"portway://other.{SECRET[::-1]}@10.0.0.1.{SECRET}@host:1", f"portway://a.{SECRET[::-1]}@[::1.{SECRET}@x]:1"]
)
def test_two_join_strings_pasted_into_one_repeat_neither_secret(text: str) -> None:
    with pytest.raises(ConfigError) as raised:
        parse(text)
    assert SECRET not in str(raised.value)
    assert SECRET[::-1] not in str(raised.value)


def test_the_secret_is_only_in_str() -> None:
    join = parse(f"{BASE}?pin=sha256:{PIN.hex()}")
    assert SECRET not in repr(join)
    assert SECRET not in repr([join])
    assert "tunnel.example.org:4443" in repr(join)
    assert str(join) == f"{BASE}?pin=sha256:{PIN.hex()}"


@pytest.mark.parametrize("pin", [b"", b"x", bytes(33)])
def test_a_pin_has_32_bytes(pin: bytes) -> None:
    with pytest.raises(ConfigError, match="pin"):
        JoinString("laptop", SECRET, "localhost", 1, pin)
