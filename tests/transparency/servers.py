"""Real servers behind the tunnel, each on a free port. Skips tests where a program is missing."""

import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.kit.go_peer import build_go
from tests.kit.programs import Program
from tests.kit.services import command
from tests.kit.sockets import free_port, wait_until_listening

HERE = Path(__file__).resolve().parent / "origins"
ROOT = HERE.parents[2]
START_S = 60.0

NGINX = """
daemon off; master_process off; pid {folder}/pid; error_log stderr crit;
events {{ worker_connections 256; }}
http {{
  access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s; types {{ text/plain txt; text/html html; }}
  large_client_header_buffers 8 128k; gzip on; gzip_min_length 20; gzip_types text/plain;
  server {{
    listen 127.0.0.1:{port}; root {folder}/www; absolute_redirect off;
    location /moved {{ return 301 /elsewhere; }}
    location /empty {{ return 204; }}
    location /denied {{ return 403; }}
    location /teapot {{ return 418 "short and stout\\n"; }}
  }}
}}
"""

APACHE = """
ServerRoot {folder}
PidFile {folder}/pid
Listen 127.0.0.1:{port}
ServerName localhost
ErrorLog {folder}/error.log
LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so
LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
LoadModule mime_module /usr/lib/apache2/modules/mod_mime.so
LoadModule dir_module /usr/lib/apache2/modules/mod_dir.so
TypesConfig /dev/null
AddType text/plain .txt
AddType text/html .html
DocumentRoot {folder}/www
LimitRequestFieldSize 65536
"""

CADDY = """
{{
  admin off
  auto_https off
}}
http://127.0.0.1:{port}, http://*:{port} {{
  bind 127.0.0.1
  root * {folder}/www
  file_server
}}
"""


def site(folder: Path) -> None:
    """Write the files that static servers serve."""
    www = folder / "www"
    (www / "sub").mkdir(parents=True)
    (www / "index.html").write_text("<!doctype html><title>site</title><p>hello\n")
    (www / "content.txt").write_text("0123456789" * 100)
    (www / "empty.txt").write_text("")
    (www / "large.txt").write_text("portway " * 100_000)
    (www / "sub" / "index.html").write_text("<!doctype html><title>sub</title>\n")
    for path in [www, *www.rglob("*")]:
        os.utime(path, (1_700_000_000, 1_700_000_000))
        path.chmod(0o755 if path.is_dir() else 0o644)
    folder.chmod(0o755)


@contextmanager
def printed_port(argv: list[str | Path], name: str) -> Iterator[int]:
    """Run a program that prints the port on which it listens."""
    with Program(argv, name=name) as program:
        yield int(program.expect(r"^(\d+)$", START_S)[1])


@contextmanager
def on_port(name: str, argv: Callable[[int, Path], list[str | Path]], env: dict[str, str] | None = None) -> Iterator[int]:
    """Run a program that takes its listening port as an argument."""
    with tempfile.TemporaryDirectory(prefix="pw-") as folder:
        site(Path(folder))
        port = free_port()
        with Program(argv(port, Path(folder)), name=name, env={"PYTHONPATH": str(ROOT), **(env or {})}, cwd=Path(folder)) as program:
            wait_until_listening(port, program, START_S)
            yield port


def node() -> Iterator[int]:
    """Node's http module."""
    with printed_port([command("node"), HERE / "echo.mjs"], "node") as port:
        yield port


def go() -> Iterator[int]:
    """Go's net/http."""
    with printed_port([build_go(HERE / "echo_go", "echo", ("main.go", "go.mod"))], "go") as port:
        yield port


def plain() -> Iterator[int]:
    """Python's http.server."""
    with printed_port([sys.executable, HERE / "plain.py"], "http.server") as port:
        yield port


def uvicorn() -> Iterator[int]:
    """An ASGI server."""
    pytest.importorskip("uvicorn")

    def argv(port: int, _folder: Path) -> list[str | Path]:
        options = ["--port", str(port), "--log-level", "error", "--http", "httptools", "--no-proxy-headers"]
        return [sys.executable, "-m", "uvicorn", *options, "tests.transparency.origins.apps:asgi"]

    with on_port("uvicorn", argv) as port:
        yield port


def gunicorn() -> Iterator[int]:
    """A WSGI server with threads."""
    pytest.importorskip("gunicorn")

    def argv(port: int, _folder: Path) -> list[str | Path]:
        options = ["--bind", f"127.0.0.1:{port}", "--threads", "4", "--log-level", "error", "--keep-alive", "5"]
        return [sys.executable, "-m", "gunicorn", *options, "tests.transparency.origins.apps:wsgi"]

    with on_port("gunicorn", argv) as port:
        yield port


def uwsgi() -> Iterator[int]:
    """A WSGI server that closes after each response."""
    program = command("uwsgi")

    def argv(port: int, _folder: Path) -> list[str | Path]:
        options = ["--http-socket", f"127.0.0.1:{port}", "--plugin", "python3", "--disable-logging"]
        return [program, *options, "--buffer-size", "65535", "--pythonpath", str(ROOT), "--module", "tests.transparency.origins.apps:wsgi"]

    with on_port("uwsgi", argv) as port:
        yield port


def nginx() -> Iterator[int]:
    """Static files, redirects and errors by nginx."""
    program = command("nginx", "/usr/sbin")

    def argv(port: int, folder: Path) -> list[str | Path]:
        (folder / "nginx.conf").write_text(NGINX.format(folder=folder, port=port))
        return [program, "-p", folder, "-c", folder / "nginx.conf"]

    with on_port("nginx", argv) as port:
        yield port


def apache() -> Iterator[int]:
    """Static files by Apache."""
    program = command("apache2", "/usr/sbin")

    def argv(port: int, folder: Path) -> list[str | Path]:
        (folder / "apache.conf").write_text(APACHE.format(folder=folder, port=port))
        return [program, "-X", "-f", folder / "apache.conf"]

    with on_port("apache2", argv) as port:
        yield port


def caddy() -> Iterator[int]:
    """Static files by Caddy."""
    program = command("caddy")

    def argv(port: int, folder: Path) -> list[str | Path]:
        (folder / "Caddyfile").write_text(CADDY.format(folder=folder, port=port))
        return [program, "run", "--config", folder / "Caddyfile", "--adapter", "caddyfile"]

    with on_port("caddy", argv, {"XDG_DATA_HOME": "/nonexistent", "XDG_CONFIG_HOME": "/nonexistent"}) as port:
        yield port


ECHOING = {"node": node, "go": go, "http.server": plain, "uvicorn": uvicorn, "gunicorn": gunicorn, "uwsgi": uwsgi}
STATIC = {"nginx": nginx, "apache": apache, "caddy": caddy}
