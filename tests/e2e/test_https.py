"""HTTPS visitors of real programs: curl, Python, Node and Go, through a server that terminates TLS, with one process or several."""

import hashlib
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.e2e.curl import Curl, Got
from tests.e2e.world import World, event, events
from tests.kit.http_origin import HttpOrigin
from tests.kit.node import node_command
from tests.kit.programs import Program
from tests.kit.streams import blocks, stream_hash

SIZE = 50_000_000
HANDSHAKES = 300


@pytest.fixture(scope="module")
def origin() -> Iterator[HttpOrigin]:
    with HttpOrigin() as origin:
        yield origin


@pytest.fixture(scope="module", params=[1, 2], ids=["one process", "workers"])
def world(request: pytest.FixtureRequest, origin: HttpOrigin) -> Iterator[World]:
    """A server with a TLS port, and an agent that publishes the origin as `app`."""
    with World(https=True, server_flags=("--workers", str(request.param))) as world:
        world.start_server()
        event(world.agent(world.token(), "http", str(origin.port), "--name", "app"), "tunnel_up")
        yield world


def curl(world: World, path: str, *options: str, name: str = "app", body: Iterator[bytes] | None = None) -> Got:
    host = f"{name}.localhost:{world.https_port}"
    resolve = ("--resolve", f"{host}:127.0.0.1", "--cacert", str(world.ca_file))
    with Curl(*resolve, *options, f"https://{host}{path}", body=body) as running:
        return running.finish()


def get(world: World, tls: ssl.SSLSocket, path: str = "/hello", name: str = "app") -> bytes:
    """Send a request and return the response's first bytes."""
    tls.sendall(f"GET {path} HTTP/1.1\r\nHost: {name}.localhost:{world.https_port}\r\n\r\n".encode())
    return tls.recv(65536)


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_curl_verifies_the_certificate_and_the_origin_is_told_https(world: World, version: str) -> None:
    got = curl(world, "/headers", f"--tlsv{version}", "--tls-max", version)
    assert got.code == 0, got
    headers = {name.lower(): value for name, value in json.loads(got.tail)["headers"]}
    assert headers["x-forwarded-proto"] == "https"
    assert headers["host"] == f"app.localhost:{world.https_port}"


def test_bodies_arrive_whole_in_both_directions(world: World) -> None:
    got = curl(world, f"/bytes?n={SIZE}&seed=3")
    assert (got.code, got.size, got.sha256) == (0, SIZE, stream_hash(SIZE, 3))
    got = curl(world, "/sink", "-T", "-", body=blocks(SIZE, 4))
    assert got.code == 0, got
    assert json.loads(got.tail)["sha256"] == stream_hash(SIZE, 4)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["TLS 1.2", "TLS 1.3"])
def test_a_session_is_resumed(world: World, version: ssl.TLSVersion) -> None:
    context = ssl.create_default_context(cafile=str(world.ca_file))
    context.minimum_version = context.maximum_version = version
    resumed = []
    session = None
    for _ in range(4):  # with two workers, whose contexts have different keys, the agent's worker terminates each of them
        with world.dial_tls("app", context=context, session=session) as tls:
            assert b"200 OK" in get(world, tls)
            resumed.append(tls.session_reused)
            session = tls.session
    assert resumed == [False, True, True, True]


@pytest.mark.parametrize(
    ("offer", "chosen"),
    [
        ((), None),
        (("http/1.1",), "http/1.1"),
        (("h2", "http/1.1"), "http/1.1"),
        (("http/1.0",), None),
        (("h2",), "alert"),
        (("x",), "alert"),
    ],
)
def test_protocols_are_agreed_on_by_alpn(world: World, offer: tuple[str, ...], chosen: str | None) -> None:
    context = ssl.create_default_context(cafile=str(world.ca_file))
    if offer:
        context.set_alpn_protocols(list(offer))
    if chosen == "alert":
        with pytest.raises(ssl.SSLError, match="(?i)no.application.protocol"), world.dial_tls("app", context=context):
            pass
        return
    with world.dial_tls("app", context=context) as tls:
        assert tls.selected_alpn_protocol() == chosen
        assert b"200 OK" in get(world, tls)


@pytest.mark.parametrize("name", ["unknown", "a.b", "-"])
def test_an_unknown_name_is_refused_by_an_alert(world: World, name: str) -> None:
    with pytest.raises(ssl.SSLError, match="(?i)unrecognized.name"), world.dial_tls(name):
        pass


def test_a_request_for_another_host_is_misdirected(world: World) -> None:
    with world.dial_tls("app") as tls:
        answer = get(world, tls, name="other")
        assert answer.startswith(b"HTTP/1.1 421 ")
        assert b"portway-error: misdirected" in answer.lower()
        assert b"connection: close" in answer.lower()


def test_plain_http_on_the_tls_port_is_told_so(world: World) -> None:
    answer = world.call(world.https_port, b"GET / HTTP/1.1\r\nHost: app.localhost\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"https://" in answer


def test_a_visitor_that_ended_its_side_gets_the_whole_response(world: World) -> None:
    """Python's ssl cannot half-close a socket, but two memory BIOs can."""
    context = ssl.create_default_context(cafile=str(world.ca_file))
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname="app.localhost")
    digest, size = hashlib.sha256(), 0
    with socket.create_connection(("127.0.0.1", world.https_port), timeout=20) as sock:

        def feed() -> None:
            sock.sendall(outgoing.read())
            data = sock.recv(65536)
            assert data, f"a TCP end before close_notify, after {size} bytes"
            incoming.write(data)

        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                feed()
        tls.write(
            f"GET /bytes?n={SIZE // 10}&seed=5 HTTP/1.1\r\nHost: app.localhost:{world.https_port}\r\nConnection: close\r\n\r\n".encode()
        )
        with pytest.raises(ssl.SSLWantReadError):
            tls.unwrap()  # sends close_notify
        head = b""
        while True:
            try:
                data = tls.read(65536)
            except ssl.SSLWantReadError:
                feed()
                continue
            except ssl.SSLZeroReturnError:
                break
            if not data:
                break
            if b"\r\n\r\n" not in head:
                head += data
                data = head.partition(b"\r\n\r\n")[2] if b"\r\n\r\n" in head else b""
            digest.update(data)
            size += len(data)
    assert b"200 OK" in head
    assert (size, digest.hexdigest()) == (SIZE // 10, stream_hash(SIZE // 10, 5))


def test_nodes_client_keeps_its_connection(world: World, tmp_path: Path) -> None:
    script = tmp_path / "visit.js"
    script.write_text(
        """
        const https = require('https'), fs = require('fs');
        const [port, ca] = process.argv.slice(2);
        const agent = new https.Agent({keepAlive: true, maxSockets: 1, ca: fs.readFileSync(ca)});
        const sockets = new Set();
        function visit(left) {
            const options = {host: '127.0.0.1', servername: 'app.localhost', port, path: '/hello', agent,
                headers: {Host: 'app.localhost:' + port}};
            https.get(options, (answer) => {
                sockets.add(answer.socket);
                answer.resume().on('end', () => left > 1 ? setTimeout(visit, 5, left - 1) : (console.log(answer.statusCode, sockets.size), agent.destroy()));
            });
        }
        visit(5);
        """
    )
    with Program([node_command(), script, str(world.https_port), str(world.ca_file)], name="node") as program:
        assert program.wait().out.strip() == "200 1"


def test_many_handshakes_at_once_all_succeed(world: World) -> None:
    def visit(_number: int) -> bool:
        with world.dial_tls("app") as tls:
            return b"200 OK" in get(world, tls)

    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(visit, range(HANDSHAKES)))


def test_agents_may_use_the_tls_port_only(origin: HttpOrigin) -> None:
    with World(https=True, server_flags=("--workers", "2")) as world:
        world.start_server("--agents", "off")
        join = world.token()
        assert join.port == world.https_port
        agent = world.agent(join, "http", str(origin.port), "--name", "app", "--max-links", "4")
        event(agent, "tunnel_up")
        assert world.visit("app").status == 200
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda _: world.visit("app", "/bytes?n=3000000"), range(24)))
        assert {answer.status for answer in answers} == {200}
        assert not list(events(agent, "offline"))


def test_a_worker_killed_under_tls_load_is_replaced(origin: HttpOrigin) -> None:
    with World(https=True, server_flags=("--workers", "2")) as world:
        server = world.start_server()
        agent = world.agent(world.token(), "http", str(origin.port), "--name", "app")
        event(agent, "tunnel_up")
        pids = [told["pid"] for told in events(server, "worker_up")]
        assert len(pids) == 2

        def visit(_number: int) -> bool:
            try:
                with world.dial_tls("app", deadline_s=10) as tls:
                    return b"200 OK" in get(world, tls)
            except OSError:
                return False

        with ThreadPoolExecutor(8) as pool:
            load = pool.map(visit, range(400))
            time.sleep(0.3)
            os.kill(pids[0], signal.SIGKILL)
            served = list(load)
        assert served.count(True) > 200, "visitors of the other worker, and of the new one, are served"
        deadline = time.monotonic() + 10
        while not visit(0):
            assert time.monotonic() < deadline
        assert all(map(visit, range(20)))


def test_gos_client_half_closes(world: World, tmp_path: Path) -> None:
    go = shutil.which("go")
    if go is None:
        pytest.skip("no go on this machine")
    source = tmp_path / "main.go"
    source.write_text(
        """package main

import ("crypto/tls"; "crypto/x509"; "fmt"; "io"; "os")

func main() {
    pem, _ := os.ReadFile(os.Args[2])
    roots := x509.NewCertPool()
    roots.AppendCertsFromPEM(pem)
    conn, err := tls.Dial("tcp", "127.0.0.1:"+os.Args[1], &tls.Config{RootCAs: roots, ServerName: "app.localhost"})
    if err != nil { panic(err) }
    fmt.Fprintf(conn, "GET /bytes?n=1000000 HTTP/1.1\\r\\nHost: app.localhost:%s\\r\\nConnection: close\\r\\n\\r\\n", os.Args[1])
    if err := conn.CloseWrite(); err != nil { panic(err) }
    all, err := io.ReadAll(conn)
    fmt.Println(err, len(all) > 1000000)
}
"""
    )
    built = subprocess.run(
        [go, "run", source, str(world.https_port), str(world.ca_file)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"GOFLAGS": "-mod=mod"},
    )
    assert built.stdout.strip() == "<nil> true", built


def test_with_a_trusted_certificate_urls_are_https_and_plain_http_is_redirected(origin: HttpOrigin) -> None:
    with World(https=True) as world:
        world.start_server("--dev-tls")
        agent = world.agent(world.token(), "http", str(origin.port), "--name", "app")
        url = f"https://app.localhost:{world.https_port}"
        assert event(agent, "tunnel_up")["url"] == url
        answer = world.visit("app", "/hello?a=%20b")
        assert (answer.status, answer.error) == (308, "https_redirect")
        resolve = [word for port in (world.http_port, world.https_port) for word in ("--resolve", f"app.localhost:{port}:127.0.0.1")]
        with Curl(*resolve, "--cacert", str(world.ca_file), "-L", f"http://app.localhost:{world.http_port}/hello?a=%20b") as running:
            got = running.finish()
        assert (got.code, got.tail[:5]) == (0, b"hello")
