"""The sample site, asked over real connections as a browser or curl would."""

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

Answer = tuple[http.client.HTTPResponse, bytes]


def ask(site: RunningSite, path: str, *, method: str = "GET", headers: dict[str, str] | None = None, body: bytes | None = None) -> Answer:
    connection = http.client.HTTPConnection(site.address, timeout=10)
    try:
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        return answer, answer.read()
    finally:
        connection.close()


def live(site: RunningSite, origin: str | None = None) -> ClientConnection:
    return connect(f"ws://{site.address}/live", origin=Origin(origin) if origin else None, proxy=None, open_timeout=5)


def next_of(socket: ClientConnection, kind: str) -> dict[str, object]:
    while True:
        message = json.loads(socket.recv(5))
        if message["t"] == kind:
            return dict(message)


def test_the_page_carries_the_facts_of_its_own_request(running_site: RunningSite) -> None:
    answer, body = ask(running_site, "/", headers={"X-Forwarded-Host": "demo.localhost:8080", "X-Forwarded-For": "10.9.8.7"})
    assert answer.status == 200
    assert answer.headers["Content-Security-Policy"].startswith("default-src 'self'")
    data = body.decode().partition('<script type="application/json" id="facts">')[2].partition("</script>")[0]
    facts = json.loads(data)
    assert facts["trace"]["request"]["forwarded_for"] == "10.9.8.7"
    assert facts["trace"]["link"] == {"rtt_s": 0.0005, "fresh": False, "encrypted": True}
    assert facts["sample"]["count"] == SMALL_SAMPLE_BYTES


def test_nothing_that_a_visitor_sends_becomes_markup(running_site: RunningSite) -> None:
    _, body = ask(running_site, "/", headers={"X-Forwarded-Host": "</script><script>alert(1)</script>"})
    assert b"<script>alert" not in body


def test_no_file_of_the_page_asks_for_anything_elsewhere_or_inline(running_site: RunningSite) -> None:
    for name in ["", *(f"static/{name}" for name in site_files())]:
        answer, body = ask(running_site, f"/{name}")
        assert answer.status == 200, name
        text = body.decode().replace("http://www.w3.org/2000/svg", "").replace(running_site.url, "")
        assert "//cdn" not in text
        assert "https://" not in text
        assert " style=" not in text, "the content security policy forbids inline styles"
        assert "<script>" not in text


def test_a_file_that_the_browser_has_is_not_sent_again(running_site: RunningSite) -> None:
    answer, _ = ask(running_site, "/static/base.css")
    assert answer.headers["Content-Type"] == "text/css; charset=utf-8"
    again, body = ask(running_site, "/static/base.css", headers={"If-None-Match": answer.headers["ETag"]})
    assert (again.status, body) == (304, b"")


@pytest.mark.parametrize("path", ["/static/", "/static/nothing.js", "/static/../app.py", "/static/%2e%2e%2fapp.py", "/static/..%2fapp.py"])
def test_nothing_but_the_pages_files_is_there(running_site: RunningSite, path: str) -> None:
    answer, _ = ask(running_site, path)
    assert answer.status == 404


def test_a_request_without_an_edge_says_that_it_came_straight(running_site: RunningSite) -> None:
    _, body = ask(running_site, "/trace")
    trace = json.loads(body)
    assert trace["request"]["forwarded_host"] is None
    assert trace["link"] is None
    assert trace["site"]["address"] == running_site.address


def test_the_sample_comes_whole_with_its_sums(running_site: RunningSite) -> None:
    answer, body = ask(running_site, f"/download?bytes={SMALL_SAMPLE_BYTES}")
    assert body == b"".join(blocks(SMALL_SAMPLE_BYTES))
    assert answer.headers["Demo-Crc32"] == f"{zlib.crc32(body):08x}"
    assert answer.headers["Demo-Sha256"] == hashlib.sha256(body).hexdigest()


def test_a_head_request_tells_the_length_alone(running_site: RunningSite) -> None:
    answer, body = ask(running_site, "/download", method="HEAD")
    assert (answer.status, answer.headers["Content-Length"], body) == (200, "100000000", b"")


@pytest.mark.parametrize("asked", ["-1", "1e9", "\uff12", "", "99999999999", "2000000001", " 5"])
def test_a_size_that_is_no_plain_number_is_refused(running_site: RunningSite, asked: str) -> None:
    answer, _ = ask(running_site, f"/download?bytes={quote(asked)}")
    assert answer.status == 400


def test_an_upload_is_counted_and_summed(running_site: RunningSite) -> None:
    body = b"".join(blocks(700_000))
    answer, said = ask(running_site, "/upload", method="PUT", body=body)
    got = json.loads(said)
    assert (answer.status, got["bytes"], got["crc32"]) == (200, len(body), f"{zlib.crc32(body):08x}")


def test_curl_uploads_without_knowing_the_length(running_site: RunningSite) -> None:
    body = b"".join(blocks(300_000))
    done = subprocess.run(
        ["curl", "-sS", "--noproxy", "*", "-T", "-", f"{running_site.url}/upload"], check=True, input=body, capture_output=True, timeout=20
    )
    assert json.loads(done.stdout)["crc32"] == f"{zlib.crc32(body):08x}"


def test_an_echo_comes_back_with_its_number(running_site: RunningSite) -> None:
    with live(running_site) as socket:
        socket.send('{"t":"echo","n":42}')
        assert next_of(socket, "echo")["n"] == 42


def test_what_one_page_says_the_other_page_shows(running_site: RunningSite) -> None:
    with live(running_site) as first, live(running_site) as second:
        assert next_of(second, "people")["count"] == 2
        first.send('{"t":"say","text":"ahoy"}')
        assert next_of(second, "said") == {"t": "said", "who": "visitor 1", "text": "ahoy"}
        assert next_of(first, "said")["text"] == "ahoy"


def test_who_left_is_not_counted(running_site: RunningSite) -> None:
    with live(running_site) as first:
        with live(running_site):
            while next_of(first, "people")["count"] != 2:
                pass
        assert next_of(first, "people")["count"] == 1


@pytest.mark.parametrize(("frame", "code"), [("nonsense", 1003), (b"bytes", 1003), ("x" * 5000, 1009)])
def test_a_frame_that_no_page_sends_ends_that_page_only(running_site: RunningSite, frame: str | bytes, code: int) -> None:
    with live(running_site) as good, live(running_site) as bad:
        bad.send(frame)
        with pytest.raises(ConnectionClosed) as ended:
            while True:
                bad.recv(5)
        assert ended.value.rcvd is not None
        assert ended.value.rcvd.code == code
        good.send('{"t":"echo","n":1}')
        assert next_of(good, "echo")["n"] == 1


def test_a_page_of_somebody_else_may_not_open_the_live_socket(running_site: RunningSite) -> None:
    with pytest.raises(InvalidStatus) as refused:
        live(running_site, origin="http://evil.example")
    assert refused.value.response.status_code == 403
    with live(running_site, origin=running_site.url) as ours:
        assert next_of(ours, "hello")["name"]


def test_the_plain_echo_gives_back_text_and_a_megabyte(running_site: RunningSite) -> None:
    megabyte = b"".join(blocks(1024 * 1024))
    with connect(f"ws://{running_site.address}/echo", proxy=None, max_size=None) as socket:
        socket.send("grüße")
        assert socket.recv(5) == "grüße"
        socket.send(megabyte)
        assert socket.recv(10) == megabyte
