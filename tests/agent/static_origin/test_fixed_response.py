"""The same response to every request."""

import pytest

from portway.agent.target import Target
from tests.agent.static_origin.conftest import Stage, request_for


@pytest.mark.parametrize(
    ("status", "body", "text", "kind"),
    [
        (503, "", b"503 Service Unavailable\n", "text/plain; charset=utf-8"),
        (503, "Back at noon.", b"Back at noon.", "text/plain; charset=utf-8"),
        (200, "<h1>Hi</h1>", b"<h1>Hi</h1>", "text/html; charset=utf-8"),
        (599, "", b"599 \n", "text/plain; charset=utf-8"),
        (204, "ignored", b"", None),
    ],
)
def test_every_method_and_path_gets_it(stage: Stage, status: int, body: str, text: bytes, kind: str | None) -> None:
    request = request_for(Target(status=status, body=body))
    for method, path in (("GET", "/"), ("POST", "/any?x"), ("DELETE", "/..")):
        got = stage.ask(request, path, method)
        assert (got.status, got.body, got.headers.get("content-type")) == (status, text, kind)
    assert stage.ask(request, "/", "HEAD").body == b""
