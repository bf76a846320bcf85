"""A service that checks the Host field: refused with a hint, and served with `--host-header rewrite`."""

import json
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.e2e.stack import START_S, Stack, Tunnel
from tests.kit.programs import Program
from tests.kit.services import command
from tests.kit.sockets import free_port, wait_until_listening


@pytest.fixture(scope="module")
def site() -> Iterator[int]:
    """Starlette under uvicorn, which answers 400 to every host but localhost."""
    pytest.importorskip("uvicorn")
    port = free_port()
    options = ["--port", str(port), "--log-level", "error", "--no-proxy-headers", "tests.e2e.host_checking:app"]
    with Program([sys.executable, "-m", "uvicorn", *options], name="uvicorn") as program:
        wait_until_listening(port, program, START_S)
        yield port


def curl(tunnel: Tunnel, path: str, *options: str) -> tuple[str, str]:
    """Return head and body."""
    done = subprocess.run(
        [
            command("curl"),
            "-sS",
            "-i",
            "--max-time",
            "20",
            "--resolve",
            f"{tunnel.host}:{tunnel.port}:127.0.0.1",
            *options,
            tunnel.http(path),
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    head, _, body = done.stdout.partition("\n\n" if "\r\n\r\n" not in done.stdout else "\r\n\r\n")
    return head.replace("\r", "").lower(), body


def test_a_refused_host_is_explained_once(stack: Stack, site: int) -> None:
    tunnel = stack.tunnel("http", site)

    head, _ = curl(tunnel, "/")

    assert head.startswith("http/1.1 400"), "the service checks the host; else this test shows nothing"
    tunnel.program.expect("--host-header rewrite", stream="err")


def test_requests_carry_the_services_own_host(stack: Stack, site: int) -> None:
    tunnel = stack.tunnel("http", site, "--host-header", "rewrite")
    own = f"http://{tunnel.host}:{tunnel.port}"

    head, body = curl(tunnel, "/", "-H", f"Origin: {own}", "-H", f"Referer: {own}/page?x=1")
    seen = json.loads(body)

    assert head.startswith("http/1.1 200")
    assert seen["host"] == f"localhost:{site}"
    assert seen["origin"] == f"http://localhost:{site}"
    assert seen["referer"] == f"http://localhost:{site}/page?x=1"
    assert seen["x-forwarded-host"] == f"{tunnel.host}:{tunnel.port}", "who needs the public name finds it here"
    assert "domain=" not in head, "a cookie for the shared domain is confined to its host"


def test_a_foreign_origin_field_is_unchanged(stack: Stack, site: int) -> None:
    tunnel = stack.tunnel("http", site, "--host-header", "rewrite")

    _, body = curl(tunnel, "/", "-H", "Origin: https://evil.example")

    assert json.loads(body)["origin"] == "https://evil.example"


def test_a_redirect_of_the_service_points_to_the_tunnel(stack: Stack, site: int) -> None:
    tunnel = stack.tunnel("http", site, "--host-header", "rewrite")

    head, _ = curl(tunnel, "/moved")

    assert "location: /\n" in head + "\n"


def test_fields_are_set_and_removed(stack: Stack, site: int) -> None:
    options = (
        "--host-header",
        "localhost",
        "--request-header",
        "X-Key: 1",
        "--request-header",
        "-Cookie",
        "--response-header",
        "-X-Powered-By",
    )
    tunnel = stack.tunnel("http", site, *options)

    head, body = curl(tunnel, "/", "-H", "Cookie: a=1", "-H", "X-Key: visitor", "-d", "body")
    seen = json.loads(body)

    assert (seen["host"], seen["x-key"], "cookie" in seen) == ("localhost", "1", False)
    assert "x-powered-by" not in head
