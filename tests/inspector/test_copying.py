"""Copies of a request, run by a shell or by Python, send the same request."""

import json
import subprocess
from pathlib import Path

import pytest

from portway.inspector.copying import as_curl, as_fetch, as_httpx
from tests.kit.inspected import RecordingOrigin

FIELDS = [("Host", "old"), ("User-Agent", "it's \"me\""), ("X-Dollar", "$(touch pwned) `id` \\ %s !"), ("X-Empty", ""), ("X-Forwarded-For", "1"),
          ("Content-Type", "text/plain"), ("Content-Length", "3")]  # fmt: skip
BODIES = [b"", b"a=1", b"it's 'quoted'\n$HOME `id` \\n %d\n", b"@/etc/passwd", b"\x00\x01\xff\r\n'%\\", "ünïcode\n".encode(), b"-d x"]


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("method", ["GET", "POST", "PATCH"])
def test_curl_in_a_shell_sends_the_same_request(tmp_path: Path, method: str, body: bytes) -> None:
    with RecordingOrigin() as origin:
        url = f"http://127.0.0.1:{origin.port}/a/../b'c?x=[1]&y={{2}}&z=$(id)"
        command = as_curl(method, url, FIELDS, body)
        done = subprocess.run(["/bin/sh", "-c", command], cwd=tmp_path, capture_output=True, timeout=20, check=False)

        assert done.returncode == 0, done.stderr
        (request,) = origin.requests
        head, _, sent = request.partition(b"\r\n\r\n")
        lines = head.split(b"\r\n")
        assert lines[0] == f"{method} /a/../b'c?x=[1]&y={{2}}&z=$(id) HTTP/1.1".encode()
        assert sent == body
        assert {b'User-Agent: it\'s "me"', b"X-Dollar: $(touch pwned) `id` \\ %s !", b"X-Empty:", b"Content-Type: text/plain"} <= {
            line.rstrip() for line in lines
        }
        assert not any(line.startswith((b"X-Forwarded-For", b"Accept:")) for line in lines)
        assert list(tmp_path.iterdir()) == []


def test_httpx_code_is_python_with_the_same_values() -> None:
    code = as_httpx("POST", "http://a/'\"", FIELDS, b"\x00'\n")
    calls: list[tuple[tuple[str, ...], dict[str, object]]] = []

    class FakeModule:  # what the code calls; the package itself is not needed here
        @staticmethod
        def request(*args: str, **rest: object) -> None:
            calls.append((args, rest))

    exec(compile(code.replace("import httpx", ""), "copied", "exec"), {"httpx": FakeModule})

    ((args, rest),) = calls
    assert args == ("POST", "http://a/'\"")
    assert rest["content"] == b"\x00'\n"
    assert ("User-Agent", b'it\'s "me"') in rest["headers"]  # type: ignore[operator]


def test_fetch_code_has_strings_that_cannot_end_a_script() -> None:
    code = as_fetch("POST", "http://a/</script>", [("X", "</script>\u2028")], b"</script>")

    assert "</script>" not in code
    assert "\u2028" not in code
    assert json.loads(code.partition("body: ")[2].splitlines()[0].rstrip(",")) == "</script>"
    assert "new Uint8Array([0, 255])" in as_fetch("POST", "http://a/", [], b"\x00\xff")
