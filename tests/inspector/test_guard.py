"""The API against other pages, other names and other users (threats I1, I2): without key, with foreign Host, Origin or site."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from portway.inspector.guard import CSP
from tests.kit.inspected import Inspected, RecordingOrigin, Reply, inspected, request

ROUTES = [
    ("GET", "/api/status"), ("GET", "/api/requests"), ("GET", "/api/requests/1"), ("GET", "/api/requests/1/messages"),
    ("GET", "/api/requests/1/body/request"), ("GET", "/api/requests/1/har"), ("GET", "/api/har"), ("GET", "/api/events"),
    ("GET", "/api/tunnels"), ("GET", "/api/openapi.json"), ("POST", "/api/requests/1/replay"), ("DELETE", "/api/requests"), ("GET", "/"),
]  # fmt: skip
WRITES = [route for route in ROUTES if route[0] != "GET"]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Inspected]:
    with RecordingOrigin() as origin, inspected(tmp_path_factory.mktemp("guard"), origin.port) as world:
        world.visit()
        world.requests()
        yield world
        assert len(origin.requests) == 1, "a replay was accepted"
        assert len(world.requests()) == 1, "the captures were removed"


def send(world: Inspected, method: str, path: str, **headers: str) -> Reply:
    """Send exactly these fields."""
    return request(world.api_port, method, path, None, {name.replace("_", "-"): value for name, value in headers.items()})


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_without_the_key_nothing_is_served(world: Inspected, method: str, path: str) -> None:
    fields = {"X_Portway": "1"}
    wrong = {"Authorization": "Bearer wrong", "Cookie": f"portway_inspector_{world.api_port}=wrong"}

    assert send(world, method, path, **fields).status == 401
    assert send(world, method, path, **fields, **wrong).status == 401
    assert send(world, method, f"{path}?key=wrong", **fields).status == 401


@pytest.mark.parametrize(("method", "path"), ROUTES)
@pytest.mark.parametrize("host", ["attacker.example", "127.0.0.1", "localhost:1", "127.0.0.1.attacker.example:{port}", "[::1]", ""])
def test_names_that_were_rebound_are_refused(world: Inspected, method: str, path: str, host: str) -> None:
    reply = send(world, method, path, Host=host.format(port=world.api_port), Authorization=f"Bearer {world.key}")

    assert reply.status == 403


@pytest.mark.parametrize(("method", "path"), WRITES)
def test_writes_of_other_pages_are_refused_even_with_the_cookie(world: Inspected, method: str, path: str) -> None:
    cookie = cookie_of(world)
    for headers in (
        {"Origin": "http://attacker.example"},
        {"Origin": "null"},
        {"Origin": f"http://127.0.0.1:{world.api_port + 1}"},
        {"Origin": f"https://127.0.0.1:{world.api_port}"},
        {"Sec_Fetch_Site": "cross-site", "X_Portway": "1"},
        {"Sec_Fetch_Site": "same-site", "X_Portway": "1"},
        {},  # a form of an old browser
        {"Content_Type": "text/plain"},
    ):
        assert send(world, method, path, Cookie=cookie, **headers).status == 403, headers


def test_reads_of_other_sites_are_refused(world: Inspected) -> None:
    cookie = cookie_of(world)

    assert send(world, "GET", "/api/requests", Cookie=cookie, Sec_Fetch_Site="cross-site").status == 403
    assert send(world, "GET", "/api/requests", Cookie=cookie, Origin="http://attacker.example").status == 403
    assert send(world, "GET", "/api/requests", Cookie=cookie, Sec_Fetch_Site="same-origin").status == 200


def test_the_key_of_the_url_is_exchanged_for_a_cookie(world: Inspected) -> None:
    reply = send(world, "GET", f"/?key={world.key}", Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="navigate")

    assert (reply.status, reply.headers["location"]) == (303, "/")
    assert {"HttpOnly", "SameSite=strict", "Path=/"} <= {part.strip() for part in reply.headers["set-cookie"].split(";")}
    assert world.key not in reply.headers["set-cookie"]
    assert send(world, "GET", "/", Cookie=cookie_of(world)).status == 200


def cookie_of(world: Inspected) -> str:
    return send(world, "GET", f"/?key={world.key}").headers["set-cookie"].partition(";")[0]


@pytest.mark.parametrize("path", ["/", "/api/requests", "/api/requests/1/body/response", "/nothing", "/api/nothing"])
def test_every_response_has_security_fields(world: Inspected, path: str) -> None:
    for reply in (world.api("GET", path), send(world, "GET", path)):
        headers = reply.headers
        assert headers["content-security-policy"] == CSP
        assert (headers["x-content-type-options"], headers["x-frame-options"], headers["cache-control"]) == ("nosniff", "DENY", "no-store")
        assert "access-control-allow-origin" not in headers


def test_bodies_are_only_served_as_attachments(world: Inspected) -> None:
    reply = world.api("GET", "/api/requests/1/body/response")

    assert (reply.body, reply.headers["content-type"]) == (b"hello", "application/octet-stream")
    assert reply.headers["content-disposition"] == 'attachment; filename="1-response.bin"'


def test_an_open_inspector_needs_no_key_but_still_checks_host_and_origin(tmp_path: Path) -> None:
    with RecordingOrigin() as origin, inspected(tmp_path, origin.port, is_open=True) as world:
        assert "key=" not in world.inspector.page_url
        assert send(world, "GET", "/api/requests").status == 200
        assert send(world, "GET", "/api/requests", Host="attacker.example").status == 403
        assert send(world, "DELETE", "/api/requests").status == 403
        assert send(world, "DELETE", "/api/requests", Origin="http://attacker.example").status == 403
        assert send(world, "DELETE", "/api/requests", Origin=f"http://127.0.0.1:{world.api_port}").status == 204
