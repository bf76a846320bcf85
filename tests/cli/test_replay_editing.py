"""A request as text, and what an editor has changed in it."""

from typing import Any

import pytest

from portway.cli.replay_editing import COMMENT, edited_request, request_text
from portway.errors import ConfigError
from portway.inspector.replay import ReplayEdits

DETAIL: dict[str, Any] = {
    "id": 1,
    "request": {
        "start_line": "POST /a HTTP/1.1",
        "headers": [["Host", "app.test"], ["Cookie", "a=***"], ["X", "1"], ["X", "2"]],
        "body": {"text": "one\n\ntwo", "base64": None},
    },
}
TEXT = "POST /a HTTP/1.1\nHost: app.test\nCookie: a=***\nX: 1\nX: 2\n\none\n\ntwo"


def edited(before: str, after: str) -> ReplayEdits | None:
    return edited_request(DETAIL, lambda text: text.replace(before, after))


def test_a_request_is_text() -> None:
    assert request_text(DETAIL) == TEXT


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("two", "two\n", ReplayEdits()),
        ("POST /a ", "PUT /b?c ", ReplayEdits(method="PUT", target="/b?c")),
        ("a=***", "a=real", ReplayEdits(headers={"Cookie": "a=real"})),
        ("Cookie: a=***\n", "", ReplayEdits(headers={"Cookie": None})),
        ("Host", "Y: 1\nHost", ReplayEdits(headers={"Y": "1"})),
        ("X: 1\n", "", ReplayEdits(headers={"X": "2"})),
        ("one\n\ntwo", "three", ReplayEdits(body="three")),
        ("one\n\ntwo", "", ReplayEdits(body="")),
    ],
)
def test_changes(before: str, after: str, expected: ReplayEdits) -> None:
    assert edited(before, after) == expected


def test_nothing_is_sent_for_an_empty_file_and_all_is_as_it_was_without_saving() -> None:
    assert edited_request(DETAIL, lambda _: "\n") is None
    assert edited_request(DETAIL, lambda _: COMMENT) is None
    assert edited_request(DETAIL, lambda _: None) == ReplayEdits()


@pytest.mark.parametrize(
    ("before", "after", "text"),
    [
        ("POST /a HTTP/1.1", "nonsense", "invalid first line"),
        ("Host: app.test", "Host", "invalid field"),
        ("X: 2", "X: 3", "X is there 2 times"),
    ],
)
def test_texts_that_are_no_requests(before: str, after: str, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        edited(before, after)


def test_a_binary_body_cannot_be_edited() -> None:
    with pytest.raises(ConfigError, match="2 bytes is not text"):
        request_text({"id": 1, "request": {"start_line": "", "headers": [], "body": {"base64": "AP8="}}})
    with pytest.raises(ConfigError, match="a connection cannot be edited"):
        request_text({"id": 1, "request": None})
