"""A folder as an origin: what it serves, and what never leaves it."""

import os
from pathlib import Path

import pytest

from portway.agent.settings import TunnelRequest
from portway.agent.target import Target
from tests.agent.static_origin.conftest import Stage, request_for


@pytest.fixture
def folder(site: Path) -> TunnelRequest:
    return request_for(Target(directory=str(site)))


@pytest.mark.parametrize(
    ("path", "body", "kind"),
    [
        ("/page.html", b"<p>page", "text/html; charset=utf-8"),
        ("/page.html?v=1", b"<p>page", "text/html; charset=utf-8"),
        ("/inside", b"<p>page", "text/html; charset=utf-8"),
        ("/with%20index/", b"<p>index", "text/html; charset=utf-8"),
        ("/.well-known/security.txt", b"contact", "text/plain; charset=utf-8"),
        ("/sub/a%20b%3Ci%3E%3F.txt", b"odd", "text/plain; charset=utf-8"),
        ("/sub//a%20b%3Ci%3E%3F.txt", b"odd", "text/plain; charset=utf-8"),
    ],
)
def test_files_and_index_pages_are_served(stage: Stage, folder: TunnelRequest, path: str, body: bytes, kind: str) -> None:
    got = stage.ask(folder, path)
    assert (got.status, got.body, got.headers["content-type"]) == (200, body, kind)


@pytest.mark.parametrize(
    "path",
    [
        "/outside",
        "/sub/up/secret",
        "/sub/up/",
        "/nowhere",
        "/.env",
        "/%2eenv",
        "/../secret",
        "/sub/../../secret",
        "/%2e%2e/secret",
        "/sub/%2e%2e%2f%2e%2e%2fsecret",
        "/..%5csecret",
        "//etc/passwd",
        "/page.html%00",
        "/%00",
        "/page.html/",
        "/sub/",
        "/missing",
        "/" + "a" * 300,
        "/%ff%fe",
    ],
)
def test_everything_else_is_404_and_the_secret_stays(stage: Stage, folder: TunnelRequest, path: str) -> None:
    got = stage.ask(folder, path)
    assert (got.status, got.body) == (404, b"Not found in this folder.\n")


def test_a_fifo_is_not_opened(stage: Stage, folder: TunnelRequest, site: Path) -> None:
    os.mkfifo(site / "pipe")
    assert stage.ask(folder, "/pipe").status == 404


def test_a_folder_without_a_final_slash_redirects_within_the_tunnel(stage: Stage, folder: TunnelRequest) -> None:
    got = stage.ask(folder, "/with%20index?a=1")
    assert (got.status, got.headers["location"]) == (307, "with%20index/?a=1")


def test_ranges_and_etags_save_bytes(stage: Stage, folder: TunnelRequest) -> None:
    whole = stage.ask(folder, "/bytes.bin")
    part = stage.ask(folder, "/bytes.bin", Range="bytes=300-309")
    again = stage.ask(folder, "/bytes.bin", If_None_Match=whole.headers["etag"])
    beyond = stage.ask(folder, "/bytes.bin", Range="bytes=99999-")

    assert (part.status, part.body, part.headers["content-range"]) == (206, bytes(range(44, 54)), "bytes 300-309/10240")
    assert (again.status, again.body) == (304, b"")
    assert beyond.status == 416


def test_a_changed_file_has_another_etag(stage: Stage, folder: TunnelRequest, site: Path) -> None:
    first = stage.ask(folder, "/page.html").headers["etag"]
    (site / "page.html").write_text("<p>another page")
    assert stage.ask(folder, "/page.html", If_None_Match=first).status == 200


def test_the_folder_is_read_only(stage: Stage, folder: TunnelRequest, site: Path) -> None:
    for method in ("POST", "PUT", "DELETE"):
        got = stage.ask(folder, "/page.html", method)
        assert (got.status, got.headers["allow"]) == (405, "GET, HEAD")
    head = stage.ask(folder, "/page.html", "HEAD")
    assert (head.status, head.body, head.headers["content-length"]) == (200, b"", "7")


def test_a_page_of_the_folder_may_say_that_something_is_missing(stage: Stage, folder: TunnelRequest, site: Path) -> None:
    (site / "404.html").write_text("<p>gone")
    etag = stage.ask(folder, "/missing").headers["etag"]
    got = stage.ask(folder, "/missing", If_None_Match=etag, Range="bytes=0-1")
    assert (got.status, got.body) == (404, b"<p>gone")
