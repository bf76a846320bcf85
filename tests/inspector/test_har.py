"""Exports validate against HAR 1.2, and secrets are replaced."""

import base64
from pathlib import Path
from typing import Any

import msgspec

from tests.inspector.har_schema import Har
from tests.kit.inspected import RecordingOrigin, inspected

HOSTILE = b"HTTP/1.1 200 <script>\r\nX-A: </script>\r\nSet-Cookie: a=b\r\nContent-Type: image/png\r\nContent-Length: 4\r\n\r\n\x89PN\x00"


def entry(log: Any, target: str) -> Any:
    return next(one for one in log["log"]["entries"] if one["request"]["url"].endswith(target))


def test_an_export_validates_against_the_specification(tmp_path: Path) -> None:
    with RecordingOrigin() as origin, inspected(tmp_path, origin.port) as world:
        world.visit("POST", "/form?a=1&b=%20&token=x1", "a=1", {"Content-Type": "application/x-www-form-urlencoded", "Cookie": "a=1; b=2"})
        origin.response = HOSTILE
        world.visit(path="/image")
        origin.response = b"HTTP/1.1 302 Found\r\nLocation: /next\r\nContent-Length: 0\r\n\r\n"
        world.visit(path="/redirect")
        number = world.requests(3)[0]["id"]
        log, one = world.api("GET", "/api/har"), world.api("GET", f"/api/requests/{number}/har")

        msgspec.json.decode(log.body, type=Har)
        msgspec.json.decode(one.body, type=Har)
        assert log.headers["content-disposition"].startswith("attachment")
        found = log.json
        assert [len(found["log"]["entries"]), len(one.json["log"]["entries"])] == [3, 1]
        form = entry(found, "/form?a=1&b=%20&token=***")
        assert form["request"]["queryString"][:2] == [{"name": "a", "value": "1"}, {"name": "b", "value": " "}]
        assert form["request"]["cookies"] == [{"name": "a", "value": "***"}, {"name": "b", "value": "***"}]
        assert form["request"]["postData"]["text"] == "a=1"
        image = entry(found, "/image")["response"]
        assert (image["content"]["encoding"], base64.b64decode(image["content"]["text"])) == ("base64", b"\x89PN\x00")
        assert image["statusText"] == "<script>"
        assert entry(found, "/redirect")["response"]["redirectURL"] == "/next"
        assert len(world.api("GET", "/api/har?q=status:302").json["log"]["entries"]) == 1
