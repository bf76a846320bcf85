"""The sample site over real connections, as browsers and curl use them."""

import hashlib
import http.client
import json
import subprocess
import zlib
from urllib.parse import quote

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Origin

from portway.demo.site_bytes import blocks
from portway.demo.site_files import site_files
from tests.demo.conftest import SMALL_SAMPLE_BYTES, RunningSite

Exchange = tuple[http.client.HTTPResponse, bytes]


def request(
    site: RunningSite, path: str, *, method: str = "GET", headers: dict[str, str] | None = None, body: bytes | None = None
) -> Exchange:
    connection = http.client.HTTPConnection(site.address, timeout=10)
    try:
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        return response, response.read()
    finally:
        connection.close()


def live(site: RunningSite, origin: str | None = None) -> ClientConnection:
    return connect(f"ws://{site.address}/live", origin=Origin(origin) if origin else None, proxy=None, open_timeout=5)


def next_of(socket: ClientConnection, kind: str) -> dict[str, object]:
    while True:
        message = json.loads(socket.recv(5))
        if message["t"] == kind:
            return dict(message)


def test_the_page_contains_the_facts_of_its_request(running_site: RunningSite) -> None:
    response, body = request(running_site, "/", headers={"X-Forwarded-Host": "demo.localhost:8080", "X-Forwarded-For": "10.9.8.7"})
    assert response.status == 200
    assert response.headers["Content-Security-Policy"].startswith("default-src 'self'")
    data = body.decode().partition('<script type="application/json" id="facts">')[2].partition("</script>")[0]
    facts = json.loads(data)
    assert facts["trace"]["request"]["forwarded_for"] == "10.9.8.7"
    assert facts["trace"]["link"] == {"rtt_s": 0.0005, "fresh": False, "encrypted": True}
    assert facts["sample"]["count"] == SMALL_SAMPLE_BYTES


def test_input_of_a_visitor_never_becomes_markup(running_site: RunningSite) -> None:
    _, body = request(running_site, "/", headers={"X-Forwarded-Host": "</script><script>alert(1)</script>"})
    assert b"<script>alert" not in body


def test_the_page_has_no_external_or_inline_resources(running_site: RunningSite) -> None:
    for name in ["", *(f"static/{name}" for name in site_files())]:
        response, body = request(running_site, f"/{name}")
        assert response.status == 200, name
        text = body.decode().replace("http://www.w3.org/2000/svg", "").replace(running_site.url, "")
        assert "//cdn" not in text
        assert "https://" not in text
        assert " style=" not in text, "the content security policy forbids inline styles"
        assert "<script>" not in text


def test_a_cached_file_is_not_sent_again(running_site: RunningSite) -> None:
    response, _ = request(running_site, "/static/base.css")
    assert response.headers["Content-Type"] == "text/css; charset=utf-8"
    again, body = request(running_site, "/static/base.css", headers={"If-None-Match": response.headers["ETag"]})
    assert (again.status, body) == (304, b"")


@pytest.mark.parametrize("path", ["/static/", "/static/nothing.js", "/static/../app.py", "/static/%2e%2e%2fapp.py", "/static/..%2fapp.py"])
def test_only_the_pages_files_exist(running_site: RunningSite, path: str) -> None:
    response, _ = request(running_site, path)
    assert response.status == 404


def test_a_request_without_an_edge_is_recognised(running_site: RunningSite) -> None:
    _, body = request(running_site, "/trace")
    trace = json.loads(body)
    assert trace["request"]["forwarded_host"] is None
    assert trace["link"] is None
    assert trace["site"]["address"] == running_site.address


def test_the_sample_is_complete_and_has_checksums(running_site: RunningSite) -> None:
    response, body = request(running_site, f"/download?bytes={SMALL_SAMPLE_BYTES}")
    assert body == b"".join(blocks(SMALL_SAMPLE_BYTES))
    assert response.headers["Demo-Crc32"] == f"{zlib.crc32(body):08x}"
    assert response.headers["Demo-Sha256"] == hashlib.sha256(body).hexdigest()


def test_a_head_request_returns_only_the_length(running_site: RunningSite) -> None:
    response, body = request(running_site, "/download", method="HEAD")
    assert (response.status, response.headers["Content-Length"], body) == (200, "100000000", b"")


@pytest.mark.parametrize("requested", ["-1", "1e9", "\uff12", "", "99999999999", "2000000001", " 5"])
def test_an_invalid_size_is_refused(running_site: RunningSite, requested: str) -> None:
    response, _ = request(running_site, f"/download?bytes={quote(requested)}")
    assert response.status == 400


def test_an_upload_is_counted_and_checksummed(running_site: RunningSite) -> None:
    body = b"".join(blocks(700_000))
    response, result = request(running_site, "/upload", method="PUT", body=body)
    got = json.loads(result)
    assert (response.status, got["bytes"], got["crc32"]) == (200, len(body), f"{zlib.crc32(body):08x}")


def test_curl_uploads_without_a_length(running_site: RunningSite) -> None:
    body = b"".join(blocks(300_000))
    done = subprocess.run(
        ["curl", "-sS", "--noproxy", "*", "-T", "-", f"{running_site.url}/upload"], check=True, input=body, capture_output=True, timeout=20
    )
    assert json.loads(done.stdout)["crc32"] == f"{zlib.crc32(body):08x}"


def test_an_echo_returns_its_number(running_site: RunningSite) -> None:
    with live(running_site) as socket:
        socket.send('{"t":"echo","n":42}')
        assert next_of(socket, "echo")["n"] == 42


def test_a_message_is_sent_to_all_pages(running_site: RunningSite) -> None:
    with live(running_site) as first, live(running_site) as second:
        assert next_of(second, "participants")["count"] == 2
        first.send('{"t":"post","text":"ahoy"}')
        assert next_of(second, "posted") == {"t": "posted", "name": "visitor 1", "text": "ahoy"}
        assert next_of(first, "posted")["text"] == "ahoy"


def test_disconnected_pages_are_not_counted(running_site: RunningSite) -> None:
    with live(running_site) as first:
        with live(running_site):
            while next_of(first, "participants")["count"] != 2:
                pass
        assert next_of(first, "participants")["count"] == 1


@pytest.mark.parametrize(("frame", "code"), [("nonsense", 1003), (b"bytes", 1003), ("x" * 5000, 1009)])
def test_an_invalid_frame_disconnects_only_its_page(running_site: RunningSite, frame: str | bytes, code: int) -> None:
    with live(running_site) as good, live(running_site) as bad:
        bad.send(frame)
        with pytest.raises(ConnectionClosed) as ended:
            while True:
                bad.recv(5)
        assert ended.value.rcvd is not None
        assert ended.value.rcvd.code == code
        good.send('{"t":"echo","n":1}')
        assert next_of(good, "echo")["n"] == 1


def test_pages_of_other_origins_cannot_open_the_live_socket(running_site: RunningSite) -> None:
    with pytest.raises(InvalidStatus) as refused:
        live(running_site, origin="http://evil.example")
    assert refused.value.response.status_code == 403
    with live(running_site, origin=running_site.url) as ours:
        assert next_of(ours, "hello")["name"]


def test_the_plain_echo_returns_text_and_a_megabyte(running_site: RunningSite) -> None:
    megabyte = b"".join(blocks(1024 * 1024))
    with connect(f"ws://{running_site.address}/echo", proxy=None, max_size=None) as socket:
        socket.send("grüße")
        assert socket.recv(5) == "grüße"
        socket.send(megabyte)
        assert socket.recv(10) == megabyte
