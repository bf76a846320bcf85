"""A folder behind a tunnel, requested over its unix socket."""

import http.client
import socket
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from portway.agent.settings import TunnelRequest
from portway.agent.static_origin.static_origins import StaticOrigins
from portway.agent.target import Target


@dataclass
class Response:
    """What a client got."""

    status: int
    headers: dict[str, str]
    body: bytes


@dataclass
class Stage:
    """Static origins of one agent."""

    sockets: Path
    origins: StaticOrigins = field(init=False)

    def __post_init__(self) -> None:
        self.origins = StaticOrigins(lambda: self.sockets)

    def ask(self, request: TunnelRequest, path: str = "/", method: str = "GET", **headers: str) -> Response:
        line = http.client.HTTPConnection("static", timeout=10)
        line.sock = socket.socket(socket.AF_UNIX)
        line.sock.settimeout(10)
        line.sock.connect(self.origins.target_of(request).path)
        try:
            line.putrequest(method, path, skip_accept_encoding=True)
            for name, value in headers.items():
                line.putheader(name.replace("_", "-"), value)
            line.endheaders()
            got = line.getresponse()
            return Response(got.status, {name.lower(): value for name, value in got.getheaders()}, got.read())
        finally:
            line.close()


def request_for(target: Target) -> TunnelRequest:
    return TunnelRequest(kind="http", target=target)


@pytest.fixture
def stage() -> Iterator[Stage]:
    with tempfile.TemporaryDirectory(prefix="portway-") as folder:
        stage = Stage(Path(folder))
        yield stage
        stage.origins.close()
        assert list(Path(folder).iterdir()) == []


Ask = Callable[..., Response]


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A folder with everything that may lie in one, and a secret beside it."""
    (tmp_path / "secret").write_text("the secret")
    root = tmp_path / "site"
    (root / "sub" / "empty").mkdir(parents=True)
    (root / ".well-known").mkdir()
    (root / "with index").mkdir()
    for name, text in {
        "page.html": "<p>page",
        ".env": "the secret",
        ".well-known/security.txt": "contact",
        "with index/index.html": "<p>index",
        "sub/a b<i>?.txt": "odd",
    }.items():
        (root / name).write_text(text)
    (root / "inside").symlink_to(root / "page.html")
    (root / "outside").symlink_to(tmp_path / "secret")
    (root / "sub" / "up").symlink_to(tmp_path)
    (root / "nowhere").symlink_to(tmp_path / "missing")
    (root / "bytes.bin").write_bytes(bytes(range(256)) * 40)
    return root
