import pytest
from hypothesis import given
from hypothesis import strategies as st

from portway.forward.policy.list_formats import names_in_line


@pytest.mark.parametrize(
    ("line", "names"),
    [
        (b"ads.example", [b"ads.example"]),
        (b"  Ads.Example.  # comment\r", [b"ads.example"]),
        (b"*.ads.example", [b"ads.example"]),
        (b".ads.example", [b"ads.example"]),
        ("bücher.example".encode(), [b"xn--bcher-kva.example"]),
        (b"0.0.0.0 ads.example track.example # both", [b"ads.example", b"track.example"]),
        (b"127.0.0.1\tads.example", [b"ads.example"]),
        (b"127.0.0.1 localhost localhost.localdomain", []),
        (b"::1 ip6-localhost ip6-loopback", []),
        (b"255.255.255.255 broadcasthost", []),
        (b"0.0.0.0 0.0.0.0", []),
        (b"||ads.example^", [b"ads.example"]),
        (b"||ads.example^$third-party", [b"ads.example"]),
        (b"# comment", []),
        (b"! comment", []),
        (b"[Adblock Plus 2.0]", []),
        (b"", []),
        (b"192.0.2.7", [b"192.0.2.7"]),
    ],
)
def test_the_names_of_each_format_are_read(line: bytes, names: list[bytes]) -> None:
    assert names_in_line(line) == names


@pytest.mark.parametrize(
    "line",
    [
        *(b"||ads.example/path^", b"||ads.example^$domain=a.example", b"@@||ads.example^", b"example.com##.banner", b"||*.ads.example^"),
        *(b"ads.example other.example", b"a..b", b"a.example:80", b"http://ads.example/", b"\xff\xfe.example", b"-" * 300, b"0.0.0.0 a..b"),
    ],
)
def test_what_is_not_about_a_whole_host_is_not_understood(line: bytes) -> None:
    assert names_in_line(line) is None


@given(st.binary(max_size=300).filter(lambda line: b"\n" not in line))
def test_any_line_is_read_or_not_understood(line: bytes) -> None:
    names = names_in_line(line)

    assert names is None or all(name.isascii() and name == name.lower() and b" " not in name for name in names)
