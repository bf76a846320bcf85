"""Host names: one normaliser, and reasons for names that cannot be claimed."""

import os
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portway.errors import PeerError, RefusedError
from portway.protocol import names
from portway.protocol.name_words import ADJECTIVES, ANIMALS
from portway.protocol.names import RESERVED, check_label, normalise_host, random_name, split_authority

labels = st.from_regex(r"[a-z0-9]([a-z0-9\-]{0,20}[a-z0-9])?", fullmatch=True)
hosts = st.lists(labels, min_size=1, max_size=4).map(".".join)
spellings = st.sampled_from([str, str.upper, str.title, lambda host: host + ".", lambda host: host + ":80", lambda host: host + ".:8080"])


@pytest.mark.parametrize(
    ("raw", "host", "port"),
    [
        ("app.localhost", "app.localhost", None),
        (b"App.LocalHost:8080", "app.localhost", 8080),
        ("app.localhost.", "app.localhost", None),
        ("app.localhost.:443", "app.localhost", 443),
        ("app.localhost:", "app.localhost", None),
        ("app.localhost:00080", "app.localhost", 80),
        ("xn--bcher-kva.example", "xn--bcher-kva.example", None),
        ("my_service", "my_service", None),
        ("127.0.0.1:1", "127.0.0.1", 1),
        ("[::1]", "[::1]", None),
        ("[0:0:0:0:0:0:0:1]:65535", "[::1]", 65535),
        ("[2001:DB8::A]", "[2001:db8::a]", None),
        ("a" * 63 + ".example", "a" * 63 + ".example", None),
        (".".join(["a" * 49] * 5) + ".abc.:65535", ".".join(["a" * 49] * 5) + ".abc", 65535),
    ],
)
def test_one_host_has_one_spelling(raw: str | bytes, host: str, port: int | None) -> None:
    assert split_authority(raw) == (host, port)
    assert normalise_host(raw) == host


@pytest.mark.parametrize(
    "raw",
    [
        "",
        ".",
        ":80",
        "app..localhost",
        ".app.localhost",
        "app.localhost..",
        "user@app.localhost",
        "user:secret@app.localhost",
        "app.localhost:80:80",
        "app.localhost:-1",
        "app.localhost:+80",
        "app.localhost:8_0",
        "app.localhost:٨٠",
        "app.localhost:0",
        "app.localhost:65536",
        "app.localhost:000080",
        "app.localhost:http",
        "app.local\0host",
        "app.localhost\0",
        "app%2elocalhost",
        "app.localhost/",
        "app.localhost/../other",
        "app.localhost?x",
        "app.localhost#x",
        "app.localhost\\other",
        " app.localhost",
        "app.localhost ",
        "app.localhost\r",
        "app.localhost\n",
        "app.localhost\t",
        "app.localhost\x85",
        "app.localhost\xa0",
        "app,localhost",
        "app;localhost",
        "*.localhost",
        "bücher.example",
        "app\u3002localhost",
        "\uff21\uff30\uff30.localhost",
        "\u017f.localhost",
        "\u212a.localhost",  # the Kelvin sign, whose lower case is "k"
        "a" * 64 + ".example",
        ".".join(["a" * 49] * 5) + ".abcd",
        "::1",
        "[::1",
        "::1]",
        "[::1]x",
        "[::1]]",
        "[fe80::1%25eth0]",
        "[fe80::1%eth0]",
        "[127.0.0.1]",
        "[1::2::3]",
        "[v1.x]",
        "[]",
    ],
)
def test_an_invalid_host_is_a_peer_error(raw: str) -> None:
    with pytest.raises(PeerError):
        normalise_host(raw)
    if raw.isascii():
        with pytest.raises(PeerError):
            normalise_host(raw.encode())


@pytest.mark.parametrize("byte", range(256))
def test_each_byte_of_a_name_is_valid_or_an_error(byte: int) -> None:
    raw = b"ab" + bytes([byte]) + b"1"
    if re.fullmatch(rb"[A-Za-z0-9_.:-]", bytes([byte])):
        assert normalise_host(raw) == ("ab" if byte == ord(":") else raw.decode().lower())
    else:
        with pytest.raises(PeerError):
            normalise_host(raw)


@given(host=hosts, spelling=spellings)
def test_every_spelling_leads_to_the_same_host(host: str, spelling: type[str]) -> None:
    assert normalise_host(spelling(host)) == host
    assert normalise_host(spelling(host).encode()) == host


@given(raw=st.text(max_size=40) | st.binary(max_size=40) | st.text("a-._:[]%@09F", max_size=20))
def test_a_normal_host_stays_as_it_is(raw: str | bytes) -> None:
    try:
        host = normalise_host(raw)
    except PeerError:
        return
    assert normalise_host(host) == host


def test_an_error_shows_the_input_without_control_characters() -> None:
    with pytest.raises(PeerError, match=re.escape(r"invalid host name 'a\x1b[31m'")):
        normalise_host("a\x1b[31m")
    with pytest.raises(PeerError) as caught:
        normalise_host("x y" * 10_000)
    assert len(str(caught.value)) < 250


@pytest.mark.parametrize("name", ["a", "9", "app", "my-app", "a1-2b", "x" * 63, "xn--bcher-kva", "blog", "acme"])
def test_these_names_may_be_claimed(name: str) -> None:
    check_label(name)


@pytest.mark.parametrize(
    ("name", "reason", "next_step"),
    [
        ("", "is empty", "Choose 1 to 63"),
        ("x" * 64, "has 64 characters, at most 63", f"Try '{'x' * 63}'"),
        ("-app", "begins or ends with a hyphen", "Try 'app'"),
        ("app-", "begins or ends with a hyphen", "Try 'app'"),
        ("My App", "lower-case letters, digits and hyphens", "Try 'my-app'"),
        ("app.example", "lower-case letters, digits and hyphens", "Try 'app-example'"),
        ("bücher", "lower-case letters, digits and hyphens", "Try 'b-cher'"),
        ("app\n", "lower-case letters, digits and hyphens", "Try 'app'"),
        ("my_app", "lower-case letters, digits and hyphens", "Try 'my-app'"),
        ("ab--cd", "third and fourth place", "Try 'ab-cd'"),
        ("WWW", "lower-case", "Choose 1 to 63"),
        ("!!!", "lower-case", "Choose 1 to 63"),
    ],
)
def test_an_invalid_name_is_refused_with_a_reason_and_a_better_one(name: str, reason: str, next_step: str) -> None:
    with pytest.raises(RefusedError) as caught:
        check_label(name)
    assert caught.value.code == "invalid_name"
    assert reason in caught.value.reason
    assert caught.value.next_step.startswith(next_step)


@pytest.mark.parametrize("name", ["www", "api", "admin", "localhost", "edge", "dashboard", "mail", "root", "wpad", "_acme-challenge", "_x"])
def test_a_reserved_name_is_refused_as_such(name: str) -> None:
    with pytest.raises(RefusedError, match="reserved for the server") as caught:
        check_label(name)
    assert (caught.value.code, caught.value.next_step) == ("reserved_name", "Choose another name.")


def test_every_reserved_name_is_a_valid_name() -> None:
    assert {name for name in RESERVED if names._label_fault(name)} == set()


@given(name=st.text(max_size=80))
def test_a_name_that_may_be_claimed_is_a_normal_host(name: str) -> None:
    try:
        check_label(name)
    except RefusedError:
        return
    assert normalise_host(name) == name


def test_random_names_are_readable_and_may_be_claimed() -> None:
    for _ in range(200):
        name = random_name(os.urandom)
        assert re.fullmatch(r"[a-z]+-[a-z]+-[a-z0-9]{8}", name)
        check_label(name)


def test_random_names_cannot_be_guessed() -> None:
    choices = len(ADJECTIVES) * len(ANIMALS) * len(names._TAIL_ALPHABET) ** names._TAIL_CHARS
    assert choices >= 2**50
    drawn = [random_name(lambda size, number=number: number.to_bytes(size, "big")) for number in (0, 1, 5000, choices - 1)]  # type: ignore[misc]
    assert drawn[0].endswith(names._TAIL_ALPHABET[0] * 8)
    assert drawn[3].endswith(names._TAIL_ALPHABET[-1] * 8)
    assert len(set(drawn)) == 4


def test_the_word_lists_have_no_twins() -> None:
    assert len(set(ADJECTIVES)) == len(ADJECTIVES)
    assert len(set(ANIMALS)) == len(ANIMALS)
    assert not set("aeiouyl0134") & set(names._TAIL_ALPHABET)
