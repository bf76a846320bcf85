"""The bytes of a replay: every byte that is not edited stays."""

from typing import Any

import pytest

import portway.inspector.interfaces
from portway.errors import RefusedError
from portway.inspector.originals import Original
from portway.inspector.replay import ReplayEdits, build, origin_text, replayable

HEAD = b"POST /a?b=c HTTP/1.1\r\nHost: app.test\r\nx-lower: 1\r\nX-Twice: 1\r\nX-Twice: 2\r\nContent-Length: 3\r\n\r\n"
ROW = {"request_head": HEAD, "redacted": "[]"}
BODIES = {0: {"data": b"abc", "state": "complete", "size": 3}}


def built(edits: ReplayEdits, original: Original | None = None, **row: Any) -> bytes:
    request = build(ROW | row, BODIES, original, edits)
    return request.head + request.body


def test_without_edits_all_bytes_are_the_same() -> None:
    assert built(ReplayEdits()) == HEAD + b"abc"
    assert built(ReplayEdits(), Original(HEAD, b"original", None), redacted='["request header X"]') == HEAD + b"original"


def test_a_list_of_headers_replaces_all_but_the_framing() -> None:
    assert (
        built(ReplayEdits(headers=[("Host", "b"), ("A", "1")]))
        == b"POST /a?b=c HTTP/1.1\r\nHost: b\r\nA: 1\r\nContent-Length: 3\r\n\r\nabc"
    )


def test_a_field_that_is_there_twice_is_set_once() -> None:
    assert built(ReplayEdits(headers={"X-Twice": "3"})) == HEAD.replace(b"X-Twice: 1\r\nX-Twice: 2", b"X-Twice: 3") + b"abc"


def test_a_chunked_body_is_sent_chunked() -> None:
    head = HEAD.replace(b"Content-Length: 3", b"Transfer-Encoding: chunked")

    assert built(ReplayEdits(), request_head=head) == head + b"3\r\nabc\r\n0\r\n\r\n"
    assert built(ReplayEdits(body=""), request_head=head).endswith(b"Content-Length: 0\r\n\r\n")


def test_to_changes_host_and_perhaps_the_path() -> None:
    assert b"Host: 127.0.0.1:3001\r\n" in built(ReplayEdits(to="http://127.0.0.1:3001"))
    assert built(ReplayEdits(to="https://x.test/other?y")).startswith(b"POST /other?y HTTP/1.1\r\nHost: x.test\r\n")
    assert b"Host: kept\r\n" in built(ReplayEdits(to="https://x.test", headers={"Host": "kept"}))
    assert b"Host: app.test\r\n" in built(ReplayEdits(to="unix:/run/a.sock"))
    assert [origin_text(to) for to in ("https://x.test/a", "3000")] == ["https://x.test", "3000"]


def test_incomplete_bodies_are_refused_unless_given() -> None:
    bodies = {0: {"data": b"a", "state": "truncated", "size": 3}}
    with pytest.raises(RefusedError, match="not stored completely") as refused:
        build(ROW, bodies, None, ReplayEdits())

    assert refused.value.code == "incomplete"
    assert build(ROW, bodies, None, ReplayEdits(body="x")).body == b"x"
    assert not replayable(ROW, bodies, None).possible


def test_what_is_missing_is_named() -> None:
    row = ROW | {"redacted": '["request header Cookie", "request query token", "response header Set-Cookie", "request body password"]'}

    assert replayable(row, BODIES, None).missing == ["header Cookie", "query token", "body password"]
    assert replayable(row, BODIES, Original(HEAD, b"abc", None)).exact
    given = ReplayEdits(headers={"cookie": "a=b"}, target="/a?token=x", body="{}")
    assert build(row, BODIES, None, given).body == b"{}"
    assert portway.inspector.interfaces.ReplayOutcome(1, 200, "").status == 200
