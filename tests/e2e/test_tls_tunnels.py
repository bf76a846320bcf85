"""TLS tunnels of real programs: the certificate and the bytes are the service's, with one process and with workers."""

import hashlib
import json
import os
import shutil
import signal
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from portway.protocol.proxy_header import TLV_ALPN, TLV_AUTHORITY, ProxyHeader, decode
from tests.e2e.curl import Curl, Got
from tests.e2e.world import World, assert_refused, event, events, refusal
from tests.kit.certificates import Identity, make_identity
from tests.kit.http_origin import HttpOrigin
from tests.kit.origins import RawOrigin
from tests.kit.programs import Program
from tests.kit.services import command
from tests.kit.sockets import free_port, wait_until_listening
from tests.kit.streams import blocks, stream_hash

SIZE = 100 << 20
GIGABYTE = 1 << 30
START_S = 30.0

NGINX = """
daemon off; master_process off; pid {folder}/pid; error_log stderr crit;
events {{ worker_connections 256; }}
http {{
  access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s; client_max_body_size 0;
  ssl_certificate {identity.cert_file}; ssl_certificate_key {identity.key_file};
  ssl_protocols TLSv1.2 TLSv1.3; ssl_client_certificate {clients}; ssl_verify_client optional;
  server {{
    listen 127.0.0.1:{port} ssl http2; listen 127.0.0.1:{proxied} ssl http2 proxy_protocol; root {folder}/www;
    location /who {{ return 200 "$ssl_server_name $ssl_protocol $server_protocol $ssl_client_s_dn"; }}
    location /from {{ return 200 "$proxy_protocol_addr $proxy_protocol_port"; }}
    location /put {{ dav_methods PUT; create_full_put_path on; }}
  }}
}}
"""

HAPROXY = """
global
  log stderr format raw local0 crit
defaults
  mode http
  timeout client 30s
  timeout server 30s
  timeout connect 5s
frontend tls
  bind 127.0.0.1:{port} accept-proxy ssl crt {pem}
  http-request return status 200 content-type text/plain lf-string "%[src] %[fc_pp_authority] %[ssl_fc_sni]"
"""


@dataclass(frozen=True)
class Nginx:
    """A running nginx with its own certificate for `*.localhost` names of the tests."""

    port: int
    proxied: int
    """Port on which connections begin with a PROXY header."""
    identity: Identity
    client: Identity
    """A certificate that it verifies."""
    www: Path


@pytest.fixture(scope="module")
def nginx(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    program, folder = command("nginx", "/usr/sbin"), tmp_path_factory.mktemp("nginx")
    www = folder / "www"
    (www / "put").mkdir(parents=True)
    for one in (folder, www, www / "put"):
        one.chmod(0o777)
    identity, client = make_identity(folder, "app.localhost", "second.localhost", "own.localhost"), make_identity(folder, "visitor")
    port, proxied = free_port(), free_port()
    (folder / "nginx.conf").write_text(NGINX.format(folder=folder, port=port, proxied=proxied, identity=identity, clients=client.cert_file))
    with Program([program, "-p", folder, "-c", folder / "nginx.conf"], name="nginx") as running:
        wait_until_listening(port, running, START_S)
        yield Nginx(port, proxied, identity, client, www)


@pytest.fixture(scope="module", params=[1, 2], ids=["one process", "workers"])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    with World(https=True, server_flags=("--workers", str(request.param))) as world:
        world.start_server()
        yield world


@pytest.fixture(scope="module")
def tunnel(world: World, nginx: Nginx) -> World:
    """A world whose tunnel `app` is nginx, and `second` of another agent, so that both workers have one."""
    for number, name in enumerate(("app", "second")):
        agent = world.agent(world.token(name), "tls", str(nginx.port), "--name", name, data=f"agent-{number}")
        assert event(agent, "tunnel_up")["url"] == f"https://{name}.localhost:{world.https_port}"
    return world


def curl(world: World, path: str, trusted: Identity, *options: str, name: str = "app", body: Iterator[bytes] | None = None) -> Curl:
    host = f"{name}.localhost:{world.https_port}"
    return Curl("--resolve", f"{host}:127.0.0.1", "--cacert", str(trusted.cert_file), *options, f"https://{host}{path}", body=body)


def fetch(world: World, path: str, trusted: Identity, *options: str, name: str = "app", body: Iterator[bytes] | None = None) -> Got:
    with curl(world, path, trusted, *options, name=name, body=body) as running:
        return running.finish()


@pytest.mark.parametrize("name", ["app", "second"])
@pytest.mark.parametrize("options", [("--tlsv1.2", "--tls-max", "1.2", "--http1.1"), ("--tlsv1.3", "--http1.1"), ("--tlsv1.3", "--http2")])
def test_curl_sees_the_services_certificate(tunnel: World, nginx: Nginx, name: str, options: tuple[str, ...]) -> None:
    for _ in range(3):  # with workers, any of them may accept it
        got = fetch(tunnel, "/who", nginx.identity, *options, name=name)
        assert got.code == 0, got
        version = "TLSv1.2" if "1.2" in options else "TLSv1.3"
        assert got.tail.decode() == f"{name}.localhost {version} {'HTTP/2.0' if '--http2' in options else 'HTTP/1.1'} "


def test_client_certificates_reach_the_service(tunnel: World, nginx: Nginx) -> None:
    key = ("--cert", str(nginx.client.cert_file), "--key", str(nginx.client.key_file))
    got = fetch(tunnel, "/who", nginx.identity, *key)
    assert got.tail.decode().endswith(" CN=visitor"), got


def _check_transfers(world: World, nginx: Nginx, size: int) -> None:
    file = nginx.www / "large"
    with file.open("wb") as out:
        for block in blocks(size, 5):
            out.write(block)
    got = fetch(world, "/large", nginx.identity)
    assert (got.code, got.size, got.sha256) == (0, size, stream_hash(size, 5)), got
    file.unlink()
    got = fetch(world, "/put/large", nginx.identity, "-T", "-", "-H", "Expect:", body=blocks(size, 6))
    assert got.code == 0, got
    put = nginx.www / "put" / "large"
    with put.open("rb") as received:
        assert hashlib.file_digest(received, "sha256").hexdigest() == stream_hash(size, 6)
    put.unlink()


def test_100_megabytes_arrive_equal_in_both_directions(tunnel: World, nginx: Nginx) -> None:
    _check_transfers(tunnel, nginx, SIZE)


@pytest.mark.long
def test_a_gigabyte_arrives_equal_in_both_directions(tunnel: World, nginx: Nginx) -> None:
    _check_transfers(tunnel, nginx, GIGABYTE)


def test_sessions_are_resumed_by_the_service(tunnel: World, nginx: Nginx) -> None:
    context = ssl.create_default_context(cafile=str(nginx.identity.cert_file))
    session, resumed = None, []
    for _ in range(3):
        with tunnel.dial_tls("app", context=context, session=session) as tls:
            tls.sendall(b"GET /who HTTP/1.1\r\nHost: app.localhost\r\n\r\n")
            assert b"200 OK" in tls.recv(65536)
            session = tls.session
            resumed.append(tls.session_reused)
    assert resumed == [False, True, True]


# Ends.


class SecureOrigin:
    """A TLS service in Python that reads to close_notify, then replies and ends."""

    def __init__(self, folder: Path, *, reads_proxy_header: bool = False) -> None:
        self.identity = make_identity(folder, "own.localhost")
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(self.identity.cert_file, self.identity.key_file)
        self._context.set_alpn_protocols(["h2", "http/1.1"])
        self._reads_proxy_header = reads_proxy_header
        self.headers: list[ProxyHeader] = []
        self.received: list[bytes] = []
        self._raw = RawOrigin(self._serve)
        self.port = self._raw.port

    def _serve(self, sock: socket.socket) -> None:
        if self._reads_proxy_header:
            self._read_header(sock)
        with self._context.wrap_socket(sock, server_side=True, suppress_ragged_eofs=False) as secure:
            self.received.append(b"".join(iter(lambda: secure.recv(65536), b"")))
            secure.sendall(b"the whole reply")
            with suppress(OSError):
                secure.unwrap()

    def _read_header(self, sock: socket.socket) -> None:
        for size in range(16, 600):
            found = decode(sock.recv(size, socket.MSG_PEEK | socket.MSG_WAITALL))
            if found is not None:
                sock.recv(found[1])
                self.headers.append(found[0])
                return

    def close(self) -> None:
        self._raw.close()


def converse(world: World, origin: SecureOrigin, *protocols: str) -> tuple[bytes, tuple[str, int]]:
    """Send, end with close_notify and FIN, and return what came before the service's own close_notify, and this visitor's address."""
    context = ssl.create_default_context(cafile=str(origin.identity.cert_file))
    if protocols:
        context.set_alpn_protocols(list(protocols))
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname="own.localhost")
    with socket.create_connection(("127.0.0.1", world.https_port), timeout=20) as sock:
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                sock.sendall(outgoing.read())
                data = sock.recv(65536)
                assert data, "the connection ended in the handshake"
                incoming.write(data)
        tls.write(b"all of it")
        with suppress(ssl.SSLWantReadError):
            tls.unwrap()
        sock.sendall(outgoing.read())
        sock.shutdown(socket.SHUT_WR)
        incoming.write(b"".join(iter(lambda: sock.recv(65536), b"")))
        incoming.write_eof()
        reply = b""
        with suppress(ssl.SSLZeroReturnError):  # only close_notify ends it without another error
            while data := tls.read(100):
                reply += data
        return reply, sock.getsockname()


def test_ends_are_exact_in_both_directions(world: World, tmp_path: Path) -> None:
    origin = SecureOrigin(tmp_path)
    agent = world.agent(world.token("ends"), "tls", str(origin.port), "--host", "own.localhost", data="ends")
    try:
        event(agent, "tunnel_up")
        assert converse(world, origin)[0] == b"the whole reply"
        assert origin.received == [b"all of it"]
        done = event(agent, "relay_done")
        assert (done["kind"], done["reason"]) == ("tls", "closed")
        assert done["bytes_in"] > 300, "the handshake's bytes count"
    finally:
        agent.stop()
        origin.close()


# The visitor's address.


def test_a_service_may_get_the_visitor_in_a_proxy_header(world: World, tmp_path: Path) -> None:
    origin = SecureOrigin(tmp_path, reads_proxy_header=True)
    agent = world.agent(world.token("proxy"), "tls", str(origin.port), "--name", "own", "--send-proxy", data="proxy")
    try:
        event(agent, "tunnel_up")
        reply, address = converse(world, origin, "h2", "http/1.1")
        assert reply == b"the whole reply"
        (header,) = origin.headers
        assert (header.source, header.destination) == (address, ("127.0.0.1", world.https_port))
        assert (header.tlv(TLV_AUTHORITY), header.tlv(TLV_ALPN)) == (b"own.localhost", b"h2")
    finally:
        agent.stop()
        origin.close()


def test_nginx_reads_the_address_and_haproxy_the_name(world: World, nginx: Nginx, tmp_path: Path) -> None:
    program, port = shutil.which("haproxy", path="/usr/sbin:/usr/local/sbin:/usr/bin"), free_port()
    if program is None:
        pytest.skip("no haproxy on this machine")
    pem = tmp_path / "haproxy.pem"
    pem.write_bytes(nginx.identity.cert_file.read_bytes() + nginx.identity.key_file.read_bytes())
    (tmp_path / "haproxy.cfg").write_text(HAPROXY.format(port=port, pem=pem))
    with Program([program, "-db", "-f", tmp_path / "haproxy.cfg"], name="haproxy") as running:
        wait_until_listening(port, running, START_S)
        expected = {nginx.proxied: "127.0.0.1 ", port: "127.0.0.1 own.localhost own.localhost"}
        for number, (target, text) in enumerate(expected.items()):
            agent = world.agent(world.token(f"reads-{number}"), "tls", str(target), "--name", "own", "--send-proxy", data="reads")
            event(agent, "tunnel_up")
            got = fetch(world, "/from", nginx.identity, name="own")
            assert got.tail.decode().startswith(text), got
            agent.stop()


# Names.


def test_a_name_is_one_tunnels_and_its_owner_may_change_the_kind(world: World, nginx: Nginx) -> None:
    join = world.token("switch")
    with HttpOrigin() as plain:
        first = world.agent(join, "http", str(plain.port), "--name", "own", data="switch")
        event(first, "tunnel_up")
        other = world.agent(world.token("other"), "tls", str(nginx.port), "--name", "own", data="other", as_json=False)
        assert_refused(other.wait(), "name_taken")
        assert world.visit("own").status == 200

        second = world.agent(join, "tls", str(nginx.port), "--name", "own", "--takeover", data="switch")
        event(second, "tunnel_up")
        assert refusal(first.wait())["code"] == "replaced"
        assert b"own.localhost" in fetch(world, "/who", nginx.identity, name="own").tail
        redirected = world.visit("own")
        assert (redirected.status, redirected.error) == (308, "https_redirect"), "nothing of it is served without TLS"
        second.stop()

        again = world.agent(join, "http", str(plain.port), "--name", "own", data="switch")
        event(again, "tunnel_up")
        assert world.visit("own").status == 200
        with world.dial_tls("own") as tls:
            assert tls.getpeercert(binary_form=True) != nginx.identity.der
        again.stop()


def test_a_request_that_waits_never_reaches_a_service_that_expects_tls(world: World) -> None:
    join, received = world.token("waits"), list[bytes]()
    with HttpOrigin() as plain, RawOrigin(lambda sock: received.append(sock.recv(100))) as secure:
        first = world.agent(join, "http", str(plain.port), "--name", "own", data="waits")
        event(first, "tunnel_up")
        first.stop()
        answers: list[tuple[int, str]] = []

        def visit() -> None:
            answer = world.visit("own")
            answers.append((answer.status, answer.error))

        visitor = threading.Thread(target=visit)
        visitor.start()
        second = world.agent(join, "tls", str(secure.port), "--name", "own", data="waits")
        event(second, "tunnel_up")
        visitor.join(20)
        assert answers == [(308, "https_redirect")]
        second.stop()
    assert received == []


def test_visitors_wait_for_an_agent_that_restarts(world: World, nginx: Nginx) -> None:
    join = world.token("restart")
    arguments = ("tls", str(nginx.port), "--name", "own")
    first = world.agent(join, *arguments, data="restart")
    event(first, "tunnel_up")
    first.stop()
    with curl(world, "/who", nginx.identity, name="own") as waiting:
        again = world.agent(join, *arguments, data="restart")
        event(again, "tunnel_up")
        got = waiting.finish()
    assert got.code == 0, got
    again.stop()


def test_a_token_for_tls_allows_nothing_else(world: World, nginx: Nginx) -> None:
    join = world.token("only-tls", "--protocols", "tls", "--hosts", "own")
    refused = world.agent(join, "http", str(nginx.port), "--name", "own", data="only", as_json=False)
    assert_refused(refused.wait(), "protocol_not_allowed", "allows tls tunnels only")
    agent = world.agent(join, "tls", str(nginx.port), data="only")
    assert event(agent, "tunnel_up")["url"] == f"https://own.localhost:{world.https_port}"
    agent.stop()


def test_a_server_without_a_tls_port_refuses_tls_tunnels() -> None:
    with World() as world:
        world.start_server()
        agent = world.agent(world.token(), "tls", "8443", as_json=False)
        assert_refused(agent.wait(), "protocol_not_allowed", "https port", "portway tcp")


def test_the_status_shows_tls_tunnels_and_their_relays(world: World, nginx: Nginx) -> None:
    agent = world.agent(world.token("status"), "tls", str(nginx.port), "--name", "own", data="status")
    event(agent, "tunnel_up")
    assert fetch(world, "/who", nginx.identity, name="own").code == 0
    event(agent, "relay_done")
    shown = json.loads(world.run("status", "--json").out)
    url = f"https://own.localhost:{world.https_port}"
    (server,) = [one for one in shown if one["program"] == "server"]
    (mine,) = [one for one in shown if one["program"] == "agent" and one["pid"] == agent.pid]
    assert [lease["kind"] for lease in server["tunnels"] if lease["url"] == url] == ["tls"]
    assert [(tunnel["url"], tunnel["relays"], tunnel["requests"]) for tunnel in mine["tunnels"]] == [(url, 1, 0)]
    assert not list(events(agent, "request_line"))
    agent.stop()


def test_a_tunnel_survives_the_death_of_each_worker(nginx: Nginx) -> None:
    with World(https=True, server_flags=("--workers", "2")) as world:
        server = world.start_server()
        agent = world.agent(world.token(), "tls", str(nginx.port), "--name", "own")
        event(agent, "tunnel_up")
        for number in (1, 2):
            os.kill(event(server, "worker_up", number)["pid"], signal.SIGKILL)
            event(server, "worker_down", number)
            got = fetch(world, "/who", nginx.identity, name="own")
            for _ in range(5):  # a connection that the dead worker had accepted is reset
                if got.code == 0:
                    break
                time.sleep(0.2)
                got = fetch(world, "/who", nginx.identity, name="own")
            assert got.tail.startswith(b"own.localhost "), got
            event(server, "worker_up", 2 + number, deadline_s=START_S)


def test_many_visitors_at_once(tunnel: World, nginx: Nginx) -> None:
    failures: list[object] = []

    def visit() -> None:
        for name in ("app", "second") * 5:
            got = fetch(tunnel, "/who", nginx.identity, name=name)
            if got.code or not got.tail.startswith(name.encode()):
                failures.append(got)

    threads = [threading.Thread(target=visit) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
