"""Programs with their own proxy support, over plain HTTP."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from portway.forward.interfaces import User
from tests.edge.http.kit import Origin, Request, say
from tests.forward.http.kit import url
from tests.forward.stage import OneUser, Stage
from tests.kit.certificates import make_identity
from tests.kit.services import command

GO = """
package main
import ("bytes"; "fmt"; "io"; "net/http"; "os")
func main() {
    for i := 0; i < 3; i++ {
        r, err := http.Post(os.Args[1], "text/plain", bytes.NewReader(bytes.Repeat([]byte("x"), 100000)))
        if err != nil { fmt.Println(err); os.Exit(1) }
        body, _ := io.ReadAll(r.Body)
        fmt.Println(r.StatusCode, len(body))
    }
}
"""
NODE = """
const http = require('http');
const [host, port, url] = process.argv.slice(1);
const agent = new http.Agent({keepAlive: true});
function ask(n) {
    if (!n) return agent.destroy();
    http.request({host, port, agent, method: 'POST', path: url, headers: {Host: new URL(url).host}}, r => {
        let size = 0; r.on('data', d => size += d.length); r.on('end', () => { console.log(r.statusCode, size); ask(n - 1); });
    }).end('x'.repeat(100000));
}
ask(3);
"""


def echo(request: Request, _sock: object) -> bytes:
    """Answer with the body."""
    return say(request.body)


def run(*argv: str, proxy: str = "", folder: Path | None = None) -> str:
    """Run a program, through a proxy that its environment names."""
    names = ("http_proxy", "HTTP_PROXY") if proxy else ()
    environment = {key: value for key, value in os.environ.items() if "proxy" not in key.lower()} | dict.fromkeys(names, proxy)
    return subprocess.run(argv, env=environment, cwd=folder, check=True, capture_output=True, text=True, timeout=60).stdout


def test_curl_with_keep_alive_a_password_and_a_body() -> None:
    with Origin(echo) as origin, Stage(users=OneUser(User("ann"))) as stage:
        proxy = f"http://ann:secret@127.0.0.1:{stage.port}"
        out = run(command("curl"), "-s", "-x", proxy, "-d", "x" * 3000, "-w", "%{http_code} %{num_connects}\n", url(origin), url(origin))
        assert out == "x" * 3000 + "200 1\n" + "x" * 3000 + "200 0\n"
        expected = run(command("curl"), "-s", "-x", proxy, "-T", "-", "-w", "%{http_code}", "-o", "/dev/null", url(origin), "-H", "Expect:")
        assert expected == "200"


def test_curl_through_an_https_proxy_keeps_its_connection(tmp_path: Path) -> None:
    with Origin(echo) as origin, Stage(tls=make_identity(tmp_path, "127.0.0.1").server_context()) as stage:
        options = (
            "-s",
            "--proxy-insecure",
            "-x",
            f"https://127.0.0.1:{stage.port}",
            "-d",
            "x" * 100_000,
            "-o",
            os.devnull,
            "-o",
            os.devnull,
        )
        out = run(command("curl"), *options, "-w", "%{http_code} %{num_connects}\n", url(origin), url(origin))
    assert out == "200 1\n200 0\n"


def test_urllib_reaches_several_origins() -> None:
    script = "import sys, urllib.request as u; print([u.urlopen(url, b'body').read() for url in sys.argv[1:]])"
    with Origin(echo) as one, Origin(echo) as two, Stage() as stage:
        out = run(sys.executable, "-c", script, url(one), url(two), url(one), proxy=f"http://127.0.0.1:{stage.port}")
    assert out == "[b'body', b'body', b'body']\n"


def test_requests_keeps_its_connection() -> None:
    pytest.importorskip("requests")
    script = "import sys, requests; s = requests.Session(); print([s.put(url, data='body').text for url in sys.argv[1:]])"
    with Origin(echo) as origin, Stage() as stage:
        out = run(sys.executable, "-c", script, url(origin), url(origin), proxy=f"http://127.0.0.1:{stage.port}")
    assert out == "['body', 'body']\n"


def test_go_s_own_client(tmp_path: Path) -> None:
    (tmp_path / "main.go").write_text(GO)
    with Origin(echo) as origin, Stage() as stage:
        go = command("go", "/usr/local/go/bin")
        out = run(go, "run", "main.go", url(origin), proxy=f"http://127.0.0.1:{stage.port}", folder=tmp_path)
    assert out == "200 100000\n" * 3


def test_node_with_an_agent_of_its_own() -> None:
    with Origin(echo) as origin, Stage() as stage:
        out = run(command("node"), "-e", NODE, "127.0.0.1", str(stage.port), url(origin))
    assert out == "200 100000\n" * 3


def test_git_clones_over_http(tmp_path: Path) -> None:
    git = command("git")
    source = tmp_path / "source"
    for argv in (
        ["init", "-q", str(source)],
        ["-C", str(source), "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "--allow-empty", "-m", "one"],
    ):
        run(git, *argv)
    run(git, "clone", "-q", "--bare", str(source), str(tmp_path / "bare.git"))
    run(git, "-C", str(tmp_path / "bare.git"), "update-server-info")
    server = subprocess.Popen(
        [sys.executable, "-m", "http.server", "0", "--bind", "127.0.0.1"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    try:
        assert server.stdout is not None
        port = int(server.stdout.readline().split(" port ")[1].split()[0])
        with Stage() as stage:
            proxy = f"http.proxy=http://127.0.0.1:{stage.port}"
            run(git, "-c", proxy, "clone", "-q", url(port, "/bare.git"), str(tmp_path / "clone"))
        assert run(git, "-C", str(tmp_path / "clone"), "log", "--format=%s") == "one\n"
    finally:
        server.terminate()
        server.wait()
        if server.stdout is not None:
            server.stdout.close()
