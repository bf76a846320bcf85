"""The forward proxy as a program, used by real clients: curl, git, pip, npm, ssh, Go, Python, proxychains4, Chromium, nmap."""

import functools
import http.server
import os
import shutil
import ssl
import subprocess
import sys
import threading
import urllib.request
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.kit.certificates import Identity, make_identity
from tests.kit.go_peer import build_go
from tests.kit.http_origin import HttpOrigin
from tests.kit.programs import SOURCES, Program
from tests.kit.services import command
from tests.kit.sockets import free_port

GO_CLIENT = """
package main

import (
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
)

func main() {
	proxy, _ := url.Parse(os.Args[2])
	transport := &http.Transport{Proxy: http.ProxyURL(proxy), TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	response, err := (&http.Client{Transport: transport}).Get(os.Args[1])
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	body, _ := io.ReadAll(response.Body)
	fmt.Print(response.StatusCode, " ", string(body))
}
"""


@dataclass(frozen=True)
class Proxy:
    """A running `portway proxy`."""

    port: int
    program: Program

    def results(self) -> list[str]:
        """Return the results of ended clients."""
        return [line.split('"result":"')[1].split('"')[0] for line in self.program.out.lines if '"event":"client_done"' in line]


@contextmanager
def forward_proxy(folder: Path, *flags: str | Path) -> Iterator[Proxy]:
    """Run `portway proxy` on a free port."""
    port = free_port()
    folder.mkdir(exist_ok=True, mode=0o700)
    env = {"PATH": os.environ["PATH"], "HOME": str(folder), "XDG_RUNTIME_DIR": str(folder), "PYTHONPATH": str(SOURCES)}
    words = [sys.executable, "-m", "portway", "proxy", "--listen", f"127.0.0.1:{port}", "--json", *map(str, flags)]
    with Program(words, env=env, inherit_env=False, name="portway proxy") as program:
        program.expect('"event":"listening"')
        yield Proxy(port, program)
        assert "Traceback" not in "\n".join(program.err.lines)


@pytest.fixture
def proxy(tmp_path: Path) -> Iterator[Proxy]:
    with forward_proxy(tmp_path / "proxy", "--allow-private") as proxy:
        yield proxy


@pytest.fixture
def origin() -> Iterator[HttpOrigin]:
    with HttpOrigin() as origin:
        yield origin


@pytest.fixture
def identity(tmp_path: Path) -> Identity:
    return make_identity(tmp_path, "localhost")


@pytest.fixture
def secure(tmp_path: Path, identity: Identity) -> Iterator[tuple[str, Path]]:
    """An HTTPS server for a folder; yields its URL and the folder."""
    root = tmp_path / "www"
    root.mkdir()
    (root / "hello").write_text("hello over tls\n")

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Stay silent."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(root)))
    server.socket = identity.server_context().wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"https://localhost:{server.server_address[1]}", root
    server.shutdown()
    thread.join()
    server.server_close()


def run(
    *words: str | Path, env: dict[str, str] | None = None, timeout: float = 60.0, **options: object
) -> subprocess.CompletedProcess[str]:
    clean: dict[str, str] = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    done: subprocess.CompletedProcess[str] = subprocess.run(
        [str(word) for word in words],
        env={**clean, **(env or {})},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        **options,  # type: ignore[call-overload]
    )
    return done


@pytest.mark.parametrize("scheme", ["http", "socks5", "socks5h", "socks4", "socks4a"])
def test_curl(proxy: Proxy, secure: tuple[str, Path], scheme: str) -> None:
    done = run(command("curl"), "-sS", "-k", "-x", f"{scheme}://127.0.0.1:{proxy.port}", f"{secure[0]}/hello")
    assert (done.returncode, done.stdout) == (0, "hello over tls\n"), done.stderr


def test_curl_by_an_https_proxy_and_with_a_password(tmp_path: Path, identity: Identity, secure: tuple[str, Path]) -> None:
    users = tmp_path / "users"
    env = {"PYTHONPATH": str(SOURCES), "HOME": str(tmp_path)}
    made = run(
        sys.executable, "-m", "portway", "proxy", "user", "add", "--users", users, "ada", env=env, input="long password\nlong password\n"
    )
    assert made.returncode == 0, made.stderr + made.stdout
    tls = ("--tls-cert", identity.cert_file, "--tls-key", identity.key_file)
    with forward_proxy(tmp_path / "proxy", "--allow-private", "--users", users, *tls) as proxy:
        words = (command("curl"), "-sS", "-k", "--proxy-cacert", identity.cert_file, "-x", f"https://localhost:{proxy.port}")
        good = run(*words, "-U", "ada:long password", f"{secure[0]}/hello")
        assert (good.returncode, good.stdout) == (0, "hello over tls\n"), good.stderr
        for wrong in ((), ("-U", "ada:wrong")):
            assert "407" in run(*words, *wrong, f"{secure[0]}/hello").stderr


def test_git(proxy: Proxy, secure: tuple[str, Path], tmp_path: Path) -> None:
    git = command("git")
    work = tmp_path / "work"
    env = {"HOME": str(tmp_path), "GIT_CONFIG_NOSYSTEM": "1"}
    author = ("-c", "user.name=a", "-c", "user.email=a@b")
    run(git, "init", "-q", work, env=env)
    (work / "file").write_text("content")
    run(git, "-C", work, "add", ".", env=env)
    assert run(git, "-C", work, *author, "commit", "-q", "-m", "first", env=env).returncode == 0
    run(git, "clone", "-q", "--bare", work, secure[1] / "repo.git", env=env)
    run(git, "-C", secure[1] / "repo.git", "update-server-info", env=env)
    options = ("-c", f"http.proxy=http://127.0.0.1:{proxy.port}", "-c", "http.sslVerify=false")
    done = run(git, *options, "clone", "-q", f"{secure[0]}/repo.git", tmp_path / "copy", env=env)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "copy" / "file").read_text() == "content"
    proxy.program.expect('"result":"established"')


def test_pip(proxy: Proxy, secure: tuple[str, Path], tmp_path: Path) -> None:
    folder = secure[1] / "simple" / "nothing"
    folder.mkdir(parents=True)
    name = "nothing-1.0-py3-none-any.whl"
    with zipfile.ZipFile(folder / name, "w") as wheel:
        wheel.writestr("nothing.py", "")
        wheel.writestr("nothing-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: nothing\nVersion: 1.0\n")
        wheel.writestr("nothing-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr("nothing-1.0.dist-info/RECORD", "nothing.py,,\n")
    words = ("-m", "pip", "--isolated", "--disable-pip-version-check", "download", "--no-cache-dir", "-q", "-d", tmp_path / "got")
    options = ("--index-url", f"{secure[0]}/simple", "--trusted-host", "localhost", "--proxy", f"http://127.0.0.1:{proxy.port}")
    done = run(sys.executable, *words, *options, "nothing")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "got" / name).exists()
    proxy.program.expect('"result":"established"')


def test_npm(proxy: Proxy, secure: tuple[str, Path], tmp_path: Path) -> None:
    ping = secure[1] / "-"
    ping.mkdir()
    (ping / "ping").write_text("{}")
    options = ("--registry", f"{secure[0]}/", "--https-proxy", f"http://127.0.0.1:{proxy.port}", "--strict-ssl=false", "--fetch-retries=0")
    done = run(command("npm"), "ping", *options, env={"HOME": str(tmp_path), "npm_config_noproxy": "none.invalid"})
    assert done.returncode == 0, done.stderr
    proxy.program.expect('"result":"established"')


@pytest.mark.parametrize("kind", ["connect", "5", "4"])
def test_ssh_by_netcat(proxy: Proxy, tmp_path: Path, kind: str) -> None:
    sshd, keygen, ssh, nc = (command(name, "/usr/sbin") for name in ("sshd", "ssh-keygen", "ssh", "nc"))
    if "-X" not in run(nc, "-h").stderr:
        pytest.skip("this nc has no -X: netcat-openbsd is needed")
    for name in ("host", "user"):
        run(keygen, "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / name)
    (tmp_path / "authorized").write_text((tmp_path / "user.pub").read_text())
    port = free_port()
    (tmp_path / "config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {tmp_path}/host\nAuthorizedKeysFile {tmp_path}/authorized\n"
        "StrictModes no\nUsePAM no\nPidFile none\nPasswordAuthentication no\n"
    )
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # sshd insists on it as root
    with Program([sshd, "-D", "-e", "-f", tmp_path / "config"], name="sshd") as server:
        server.expect("Server listening", stream="err")
        through = f"ProxyCommand={nc} -X {kind} -x 127.0.0.1:{proxy.port} %h %p"
        options = ("-o", through, "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-i", tmp_path / "user")
        done = run(ssh, "-F", "none", *options, "-p", str(port), "127.0.0.1", "echo", "over", "ssh")
        assert (done.returncode, done.stdout) == (0, "over ssh\n"), done.stderr


@pytest.mark.parametrize("scheme", ["http", "socks5"])
def test_gos_own_proxy_support(proxy: Proxy, secure: tuple[str, Path], tmp_path: Path, scheme: str) -> None:
    source = tmp_path / "client"
    source.mkdir()
    (source / "main.go").write_text(GO_CLIENT)
    (source / "go.mod").write_text("module client\n\ngo 1.20\n")
    client = build_go(source, "proxyclient", ("main.go", "go.mod"))
    done = run(client, f"{secure[0]}/hello", f"{scheme}://127.0.0.1:{proxy.port}")
    assert done.stdout == "200 hello over tls\n", done.stdout + done.stderr


def test_pythons_own_proxy_support(proxy: Proxy, secure: tuple[str, Path], identity: Identity) -> None:
    context = ssl.create_default_context(cafile=str(identity.cert_file))
    handlers = (urllib.request.ProxyHandler({"https": f"http://127.0.0.1:{proxy.port}"}), urllib.request.HTTPSHandler(context=context))
    with urllib.request.build_opener(*handlers).open(f"{secure[0]}/hello", timeout=20) as response:
        assert response.read() == b"hello over tls\n"
    proxy.program.expect('"result":"established"')


def test_proxychains(proxy: Proxy, origin: HttpOrigin, tmp_path: Path) -> None:
    chains, curl = command("proxychains4"), command("curl")
    config = tmp_path / "chains.conf"
    for kind in ("socks5", "socks4", "http"):
        config.write_text(f"strict_chain\nquiet_mode\n[ProxyList]\n{kind} 127.0.0.1 {proxy.port}\n")
        done = run(chains, "-q", "-f", config, curl, "-sS", origin.url("/hello"))
        assert (done.returncode, done.stdout) == (0, "hello from origin\n"), (kind, done.stderr)


@pytest.mark.parametrize("scheme", ["http", "socks5"])
def test_chromium(proxy: Proxy, secure: tuple[str, Path], tmp_path: Path, scheme: str) -> None:
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no chromium on this machine")
    (secure[1] / "page.html").write_text("<!doctype html><title>t</title><h1>through the proxy</h1>")
    flags = (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--no-first-run",
        "--ignore-certificate-errors",
        f"--user-data-dir={tmp_path}/c",
    )
    through = (f"--proxy-server={scheme}://127.0.0.1:{proxy.port}", "--proxy-bypass-list=<-loopback>")
    done = run(chromium, *flags, *through, "--dump-dom", f"{secure[0]}/page.html", timeout=100)
    assert "through the proxy" in done.stdout, done.stdout + done.stderr
    proxy.program.expect('"result":"established"')


def test_nmap_finds_no_open_proxy_where_there_are_users(tmp_path: Path) -> None:
    nmap = command("nmap")
    users = tmp_path / "users"
    env = {"PYTHONPATH": str(SOURCES), "HOME": str(tmp_path)}
    run(sys.executable, "-m", "portway", "proxy", "user", "add", "--users", users, "ada", env=env, input="long password\nlong password\n")
    with forward_proxy(tmp_path / "proxy", "--users", users) as proxy:
        scripts = "http-open-proxy,socks-open-proxy"
        done = run(nmap, "-Pn", "-sT", "-p", str(proxy.port), "--script", scripts, "--script-timeout", "20s", "127.0.0.1", timeout=100)
        assert f"{proxy.port}/tcp open" in done.stdout
        assert "Potentially OPEN proxy" not in done.stdout
        assert "Proxy might be redirecting" not in done.stdout
        assert "status: open" not in done.stdout
        assert "established" not in proxy.results()
