"""Error responses of the edge."""

import base64
import hashlib
import json
import re

import h11
import pytest

from portway.protocol.http1.error_responses import DEFAULT_FORMAT, ERROR_RESPONSES, RETRY_AFTER_S, ResponseFormat, render_error

BROWSER = ResponseFormat(accept=b"text/html,application/xhtml+xml,*/*;q=0.8")


def read(wire: bytes, method: str = "GET") -> tuple[h11.Response, bytes]:
    """Read an answer as a client does."""
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method=method, target="/", headers=[("Host", "a")]))
    client.send(h11.EndOfMessage())
    client.receive_data(wire)
    response, body = client.next_event(), bytearray()
    assert isinstance(response, h11.Response)
    while not isinstance(event := client.next_event(), h11.EndOfMessage):
        assert isinstance(event, h11.Data)
        body += event.data
    return response, bytes(body)


@pytest.mark.parametrize("code", ERROR_RESPONSES)
def test_every_error_response_has_code_message_and_next_step(code: str) -> None:
    response, body = read(render_error(code, "shop.localhost", "a detail"))
    facts, headers = json.loads(body), dict(response.headers)
    assert response.status_code == ERROR_RESPONSES[code].status == facts["status"]
    assert headers[b"portway-error"].decode() == code == facts["error"]
    assert facts["message"]
    assert facts["next_step"]
    assert "{" not in body.decode()[1:-2]
    assert headers[b"content-type"] == b"application/json"
    assert headers[b"x-content-type-options"] == b"nosniff"
    assert headers[b"cache-control"] == b"no-store"
    assert headers[b"vary"] == b"Accept"


@pytest.mark.parametrize("code", ERROR_RESPONSES)
def test_a_browser_gets_a_page_that_fetches_nothing(code: str) -> None:
    response, body = read(render_error(code, "shop.localhost", "a detail", BROWSER))
    page = body.decode()
    assert dict(response.headers)[b"content-type"] == b"text/html; charset=utf-8"
    assert page.startswith("<!doctype html>")
    assert ERROR_RESPONSES[code].title in page
    assert code in page
    assert not re.search(r"<script|<img|<link|url\(|https?://|@import", page)


def test_the_page_s_only_style_is_named_by_its_hash() -> None:
    response, body = read(render_error("unknown_host", "a", "", BROWSER))
    style = re.search(rb"<style>(.*?)</style>", body, re.DOTALL)
    assert style is not None
    policy = dict(response.headers)[b"content-security-policy"]
    assert b"'sha256-" + base64.b64encode(hashlib.sha256(style[1]).digest()) + b"'" in policy
    assert policy.startswith(b"default-src 'none'")


def test_text_from_a_visitor_is_escaped() -> None:
    evil = "<script>alert('{host}')</script>\""
    page = render_error("bad_request", evil, evil, BROWSER)
    assert b"<script" not in page
    assert b"&lt;script&gt;" in page
    _, body = read(render_error("bad_request", evil, evil))
    assert evil in json.loads(body)["message"]


def test_a_temporary_error_has_retry_after() -> None:
    for code, answer in ERROR_RESPONSES.items():
        retry_after = dict(read(render_error(code))[0].headers).get(b"retry-after")
        assert retry_after == (b"%d" % RETRY_AFTER_S if answer.retry else None)
    assert ERROR_RESPONSES["agent_offline"].retry


def test_method_not_allowed_lists_allowed_methods() -> None:
    assert b"\r\nAllow: GET, " in render_error("method_not_allowed")


def test_head_gets_no_body_and_close_is_sent_when_needed() -> None:
    whole = render_error("unknown_host", "a", "", ResponseFormat(wants_body=True, keep_alive=True))
    head = render_error("unknown_host", "a", "", ResponseFormat(wants_body=False, keep_alive=True))
    assert whole.startswith(head)
    assert head.endswith(b"\r\n\r\n")
    assert b"Connection" not in head
    assert b"\r\nConnection: close\r\n" in render_error("unknown_host", "a", "", DEFAULT_FORMAT)
    assert b"\r\nConnection: keep-alive\r\n" in render_error("unknown_host", "a", "", ResponseFormat(keep_alive=True, version=10))
