"""Fields by their names: the table, every spelling of it, and what it leaves alone."""

import re
from pathlib import Path

import pytest

from portway.protocol.http1.errors import MessageError
from portway.protocol.http1.field_rules import DROP, UNTRUSTED, folded
from portway.protocol.http1.field_table import DROPPED, KEPT
from portway.protocol.http1.request import parse_request_head

DROPPED_NAMES = [name for group in DROPPED for name in group.names]
KEPT_NAMES = [name for group in KEPT for name in group.names]


def names_that_go_on(*names: str) -> list[str]:
    """Ask with fields of these names, and return those of them that an origin would get."""
    lines = "".join(f"{name}: v\r\n" for name in names)
    head = parse_request_head(f"GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n".encode())
    return [name.decode() for name, _ in head.fields]


def spellings(name: str) -> list[str]:
    """Return what lenient servers take for the same name: other letters, other separators, and what begins like it."""
    name = name.replace("*", "Anything")
    return [
        name,
        name.title(),
        name.upper(),
        name.replace("-", "_"),
        name.upper().replace("-", "_"),
        name.replace("-", "."),
        name.replace("-", "~"),
    ]


@pytest.mark.parametrize("name", DROPPED_NAMES)
def test_a_visitor_cannot_send_identity_fields_in_any_spelling(name: str) -> None:
    assert names_that_go_on(*spellings(name), "After") == ["After"]


@pytest.mark.parametrize("name", KEPT_NAMES)
def test_fields_of_ordinary_clients_are_forwarded(name: str) -> None:
    sent = [name.replace("*", "Anything"), name.replace("*", "anything").title()]
    assert names_that_go_on(*sent) == sent


@pytest.mark.parametrize(
    "name", ["api_key", "_", "__", "X_Custom", "my.field", "a~b", "X-Client-Data", "X-Client-Info", "Sec-Fetch-Site", "SM-Thing"]
)
def test_a_name_without_special_meaning_is_forwarded_unchanged(name: str) -> None:
    assert names_that_go_on(name) == [name]


@pytest.mark.parametrize("name", ["Content_Length", "CONTENT_LENGTH", "content.length", "Transfer_Encoding", "transfer~encoding"])
def test_a_second_spelling_of_a_request_s_framing_is_refused(name: str) -> None:
    with pytest.raises(MessageError, match="can be confused with"):
        names_that_go_on(name)


def test_alternative_spellings_of_dropped_fields_are_dropped() -> None:
    assert names_that_go_on("Keep_Alive", "Proxy_Authorization", "HTTP2_Settings", "Proxy.Connection") == []


def test_known_decisions_equal_those_of_decide() -> None:
    assert UNTRUSTED.known[b"Host"] == b"host"
    assert UNTRUSTED.known[b"user-agent"] is None
    assert len(UNTRUSTED.known) > 80
    for name, fate in UNTRUSTED.known.items():
        assert UNTRUSTED.decide(name) == fate


def test_nothing_that_a_visitor_sends_is_remembered() -> None:
    before = len(UNTRUSTED.known)
    names_that_go_on("X-Never-Seen", "X_Forwarded_For")
    assert len(UNTRUSTED.known) == before


@pytest.mark.parametrize("byte", range(256))
def test_a_folded_name_has_letters_digits_and_hyphens_only(byte: int) -> None:
    plain = folded(bytes([byte]))
    assert re.fullmatch(rb"[a-z0-9-]", plain)
    assert plain == (bytes([byte]).lower() if bytes([byte]).isalnum() else b"-")


def test_the_table_is_of_one_mind() -> None:
    assert len(set(DROPPED_NAMES)) == len(DROPPED_NAMES) >= 100
    assert all(re.fullmatch(r"[a-z0-9-]+\*?", name) for name in DROPPED_NAMES + KEPT_NAMES)
    assert not set(DROPPED_NAMES) & set(KEPT_NAMES)
    for name in DROPPED_NAMES:
        assert UNTRUSTED.decide(name.rstrip("*").encode()) == DROP, name


def test_the_documents_show_the_same_table() -> None:
    text = (Path(__file__).parents[3] / "docs" / "http.md").read_text(encoding="utf-8")
    for heading, groups in (("### Dropped", DROPPED), ("### Kept", KEPT)):
        part = text.split(heading, 1)[1].split("\n#", 1)[0]
        rows = [line.split("|")[1:-1] for line in part.splitlines() if line.startswith("| ")][1:]
        assert [row[0].strip() for row in rows] == [group.title for group in groups]
        for row, group in zip(rows, groups, strict=True):
            assert tuple(name.lower() for name in re.findall(r"`([^`]+)`", row[1])) == group.names
            assert row[2].strip() == group.reason
