"""Parameters and errors of the API; its description has every route."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from portway.inspector.openapi import document
from tests.kit.inspected import Inspected, RecordingOrigin, inspected


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Inspected]:
    with RecordingOrigin() as origin, inspected(tmp_path_factory.mktemp("api"), origin.port) as world:
        world.visit("POST", "/x", b"a=1")
        world.requests()
        yield world


@pytest.mark.parametrize(
    ("path", "status", "text"),
    [
        ("/api/requests?limit=0", 400, "limit: invalid number"), ("/api/requests?limit=5000", 400, "1 to 1000"),
        ("/api/requests?before=x", 400, "before"), ("/api/requests?q=colour:red", 400, "unknown key"),
        ("/api/requests?status=abc", 400, "invalid status"), ("/api/requests/99", 404, "no exchange 99"),
        ("/api/requests/x", 404, "invalid id"), ("/api/requests/" + "9" * 30, 404, "invalid id"), ("/api/requests/99/har", 404, "no exchange"),
        ("/api/requests/1/body/both", 404, "unknown side"), ("/api/requests/99/messages", 404, "no exchange"),
        ("/api/nothing", 404, "no such path"), ("/api/events?after=x", 400, "after"), ("/api/har?q=x:y", 400, "unknown key"),
    ],
)  # fmt: skip
def test_errors_are_json_with_a_reason(world: Inspected, path: str, status: int, text: str) -> None:
    reply = world.api("GET", path)

    assert (reply.status, text in reply.json["error"]["message"]) == (status, True)


@pytest.mark.parametrize(
    ("edits", "text"),
    [
        ({"method": "GET x"}, "method: invalid value"), ({"target": "x y"}, "target: invalid value"), ({"headers": {"a b": "c"}}, "invalid name"),
        ({"headers": {"a": "b\r\nc: d"}}, "invalid value"), ({"headers": {"a": "\u20ac"}}, "invalid value"), ({"body_base64": "?"}, "invalid base64"),
        ({"body": "a", "body_base64": "YQ=="}, "one of the two"), ({"to": "ftp://a"}, "unsupported scheme"), ({"other": 1}, "unknown field"),
        ({"headers": 1}, "Expected"), ([], "Expected"),
    ],
)  # fmt: skip
def test_invalid_edits_of_a_replay(world: Inspected, edits: Any, text: str) -> None:
    reply = world.api("POST", "/api/requests/1/replay", edits)

    assert (reply.status, text in reply.json["error"]["message"]) == (400, True), reply.body


def test_a_replay_that_is_not_json_is_refused(world: Inspected) -> None:
    assert world.api("POST", "/api/requests/1/replay", b"{}", **{"Content-Type": "text/plain"}).status == 400
    assert world.api("POST", "/api/requests/1/replay", b"\xff", **{"Content-Type": "application/json"}).status == 400


def test_methods_and_filters(world: Inspected) -> None:
    assert world.api("PUT", "/api/requests").status == 405
    assert len(world.api("GET", "/api/requests?method=POST&status=2xx&path=/x&tunnel=app").json["requests"]) == 1
    assert world.api("GET", "/api/requests?method=GET").json["requests"] == []
    assert world.api("GET", '/api/requests?path="').json["requests"] == []


def test_status_and_tunnels(world: Inspected) -> None:
    status = world.api("GET", "/api/status").json

    assert (status["agent"]["state"], status["agent"]["inspector"]) == ("online", world.inspector.url)
    assert (status["capture"]["exchanges"], status["capture"]["error"], status["capture"]["redacts"]) == (1, "", True)
    assert world.api("GET", "/api/tunnels").json["tunnels"][0]["url"] == world.up.url


def test_the_description_has_every_route_and_its_references_exist(world: Inspected) -> None:
    found = world.api("GET", "/api/openapi.json").json
    operations = {(method.upper(), path) for path, methods in found["paths"].items() for method in methods}
    text = json.dumps(found)

    assert found == json.loads(json.dumps(document(found["info"]["version"])))
    assert {("POST", "/api/requests/{id}/replay"), ("DELETE", "/api/requests"), ("GET", "/api/events")} <= operations
    assert len(operations) == 11
    for name in found["components"]["schemas"]:
        assert f"#/components/schemas/{name}" in text, name
    assert {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]} <= set(found["components"]["schemas"])


def test_the_page_has_no_captured_content(world: Inspected) -> None:
    reply = world.api("GET", "/")

    assert reply.headers["content-type"] == "text/html; charset=utf-8"
    assert b"/x" not in reply.body
