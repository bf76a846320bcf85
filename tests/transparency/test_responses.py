import pytest

from tests.transparency.client import Outcome, Step, talk
from tests.transparency.compare import differences
from tests.transparency.conftest import Path, Paths
from tests.transparency.documented import undocumented
from tests.transparency.requests import head
from tests.transparency.responses import Reply, all_replies
from tests.transparency.servers import STATIC

STATIC_REQUESTS = {
    "page": head("GET", "/"),
    "text": head("GET", "/content.txt"),
    "empty": head("GET", "/empty.txt"),
    "large": head("GET", "/large.txt"),
    "gzip": head("GET", "/large.txt", "Accept-Encoding: gzip"),
    "missing": head("GET", "/missing.txt"),
    "folder": head("GET", "/sub"),
    "folder-slash": head("GET", "/sub/"),
    "range": head("GET", "/content.txt", "Range: bytes=10-19"),
    "range-suffix": head("GET", "/content.txt", "Range: bytes=-5"),
    "range-several": head("GET", "/content.txt", "Range: bytes=0-0,5-6"),
    "range-unsatisfiable": head("GET", "/content.txt", "Range: bytes=9999-"),
    "not-modified": head("GET", "/content.txt", "If-Modified-Since: Tue, 14 Nov 2023 22:13:20 GMT"),
    "precondition": head("GET", "/content.txt", 'If-Match: "nothing"'),
    "post": head("POST", "/content.txt", "Content-Length: 2") + b"hi",
    "delete": head("DELETE", "/content.txt"),
    "encoded": head("GET", "/%63ontent.txt"),
    "moved": head("GET", "/moved"),
    "nothing": head("GET", "/empty"),
    "denied": head("GET", "/denied"),
    "teapot": head("GET", "/teapot"),
    "http-1.0": head("GET", "/content.txt", version="1.0"),
}
NATURAL = {
    "early": head("POST", "/early", "Content-Length: 4") + b"body",
    "hints": head("GET", "/hints"),
    "processing": head("GET", "/processing"),
    "trailers": head("GET", "/trailers", "TE: trailers", "Connection: TE"),
    "content": head("GET", "/content", "Range: bytes=0-4"),
}
ASKED = [(server, name, data) for server in STATIC for name, data in STATIC_REQUESTS.items()]
ASKED += [(server, name, data) for server in ("node", "go") for name, data in NATURAL.items()]


@pytest.mark.parametrize("reply", all_replies(), ids=lambda reply: reply.name)
def test_a_response_arrives_as_it_does_directly(reply: Reply, paths: Paths) -> None:
    path = paths("raw")
    lines = [f"Content-Length: {len(reply.body)}"] if reply.body else []
    data = head(reply.method, f"/{reply.name}", *lines).replace(b"{host}", path.host.encode())
    steps: list[Step] = [data, reply.body] if reply.body else [data]

    direct, through = (talk(address, steps, method=reply.method, host=path.host) for address in (path.direct, path.through))

    assert undocumented(reply.name, differences(direct, through)) == [], (_short(direct), _short(through))


@pytest.mark.parametrize(("server", "name", "data"), ASKED, ids=[f"{server}-{name}" for server, name, _ in ASKED])
def test_a_server_responds_as_it_does_directly(server: str, name: str, data: bytes, paths: Paths) -> None:
    path = paths(server)
    direct, through = _both(path, data)

    assert undocumented(f"server-{name}", differences(direct, through)) == [], (_short(direct), _short(through))


@pytest.mark.parametrize("token", ["websocket", "tcp", "SPDY/3.1", "own-protocol/2"])
def test_an_upgrade_that_the_origin_accepts_becomes_a_two_way_relay(token: str, paths: Paths) -> None:
    path = paths("node")
    lines = [f"Upgrade: {token}", "Connection: Upgrade", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version: 13"]
    data = head("GET", "/upgrade", *lines)
    direct, through = _both(path, data)

    assert direct.finals[0].status == 101
    assert undocumented(f"upgrade-{token}", differences(direct, through)) == [], (_short(direct), _short(through))


def _both(path: Path, data: bytes) -> tuple[Outcome, Outcome]:
    data = data.replace(b"{host}", path.host.encode())
    direct = talk(path.direct, [data], host=path.host)
    return direct, talk(path.through, [data], host=path.host)


def _short(outcome: Outcome) -> str:
    return repr(outcome)[:1500]
