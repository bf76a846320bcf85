"""Debian's test CA for ACME, its DNS server, and small servers that answer challenges. Skips the test where they are missing."""

import contextlib
import http.server
import json
import socket
import ssl
import tempfile
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from portway.certificates.interfaces import ChallengeSource
from tests.kit.certificates import make_identity
from tests.kit.programs import Program
from tests.kit.services import command
from tests.kit.sockets import free_port, wait_until_listening

START_S = 20.0


@dataclass
class Pebble:
    """A running CA."""

    directory: str
    """URL of its directory."""
    ca_file: Path
    """Root of its own HTTPS certificate."""
    management: str
    program: Program
    dns: "ChallengeDns"
    config: Path
    dns_port: int
    env: dict[str, str]

    def issuing_root(self) -> bytes:
        """Return the root that its certificates lead to; another one after each start."""
        return self._get("/roots/0")

    def _get(self, path: str) -> bytes:
        context = ssl.create_default_context(cafile=str(self.ca_file))
        with urllib.request.urlopen(self.management + path, context=context, timeout=10) as reply:
            content: bytes = reply.read()
            return content

    def stop(self) -> None:
        """End it; its accounts and orders are lost."""
        with self.program:
            self.program.stop()

    def start(self) -> None:
        """Start it again on the same ports."""
        self.program = _start(self.config, self.dns_port, self.env)
        wait_until_listening(int(self.directory.rpartition(":")[2].partition("/")[0]), self.program, START_S)


@dataclass
class ChallengeDns:
    """The CA's DNS server: every name is 127.0.0.1, and TXT records can be set."""

    port: int
    management: str

    def set_txt(self, name: str, value: str) -> None:
        """Add a TXT record; `name` ends with a dot."""
        self._post("/set-txt", {"host": name, "value": value})

    def clear_txt(self, name: str) -> None:
        """Remove the TXT records of a name."""
        self._post("/clear-txt", {"host": name})

    def fail(self, name: str) -> None:
        """Answer questions for a name with SERVFAIL."""
        self._post("/set-servfail", {"host": name})

    def repair(self, name: str) -> None:
        """Answer questions for a name again."""
        self._post("/clear-servfail", {"host": name})

    def _post(self, path: str, body: dict[str, str]) -> None:
        urllib.request.urlopen(urllib.request.Request(self.management + path, json.dumps(body).encode()), timeout=10).close()


@contextmanager
def pebble(
    *, http_port: int, tls_port: int, external_accounts: dict[str, str] | None = None, dns_port: int = 0, **env: str
) -> Iterator[Pebble]:
    """Run pebble, which connects to these ports of 127.0.0.1 for challenges; `env` sets PEBBLE_ variables.

    `dns_port` is that of a DNS server to ask instead of the one of the kit.
    """
    command("pebble")
    with tempfile.TemporaryDirectory(prefix="pw-") as name, ExitStack() as stack:
        folder = Path(name)
        identity = make_identity(folder, "localhost", "127.0.0.1", authority=True)
        dns = stack.enter_context(challenge_dns())
        dns_port = dns_port or dns.port
        port, management = free_port(), free_port()
        settings: dict[str, Any] = {
            "listenAddress": f"127.0.0.1:{port}",
            "managementListenAddress": f"127.0.0.1:{management}",
            "certificate": str(identity.cert_file),
            "privateKey": str(identity.key_file),
            "httpPort": http_port,
            "tlsPort": tls_port,
            "ocspResponderURL": "",
            "externalAccountBindingRequired": external_accounts is not None,
            "externalAccountMACKeys": external_accounts or {},
        }
        config = folder / "pebble.json"
        config.write_text(json.dumps({"pebble": settings}))
        full = {"PEBBLE_VA_NOSLEEP": "1", **env}
        ca = Pebble(
            f"https://127.0.0.1:{port}/dir",
            identity.cert_file,
            f"https://127.0.0.1:{management}",
            _start(config, dns_port, full),
            dns,
            config,
            dns_port,
            full,
        )
        stack.callback(ca.stop)
        wait_until_listening(port, ca.program, START_S)
        yield ca


def _start(config: Path, dns_port: int, env: dict[str, str]) -> Program:
    argv = [command("pebble"), "-config", str(config), "-strict", "-dnsserver", f"127.0.0.1:{dns_port}"]
    return Program(argv, env=env, name="pebble")


@contextmanager
def challenge_dns() -> Iterator[ChallengeDns]:
    """Run the DNS server of pebble."""
    server, port, management = command("pebble-challtestsrv"), free_port(), free_port()
    argv = [
        server,
        "-dns01",
        f"127.0.0.1:{port}",
        "-management",
        f"127.0.0.1:{management}",
        "-http01",
        "",
        "-https01",
        "",
        "-tlsalpn01",
        "",
    ]
    with Program([*argv, "-defaultIPv4", "127.0.0.1", "-defaultIPv6", ""], name="pebble-challtestsrv") as program:
        wait_until_listening(management, program, START_S)
        yield ChallengeDns(port, f"http://127.0.0.1:{management}")


@dataclass
class Answers:
    """Servers that answer a CA's challenges from a source, in threads of their own."""

    source: ChallengeSource
    http_port: int = 0
    tls_port: int = 0
    http_requests: int = 0
    tls_handshakes: int = 0


@contextmanager
def challenge_answers(source: ChallengeSource, http_port: int = 0, tls_port: int = 0) -> Iterator[Answers]:
    """Answer HTTP-01 and TLS-ALPN-01 with what `source` has at the time; a port of 0 is a free one."""
    answers = Answers(source)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answers.http_requests += 1
            host = self.headers["Host"].partition(":")[0]
            body = answers.source.http_challenge(host, self.path.removeprefix("/.well-known/acme-challenge/"))
            self.send_response(404 if body is None else 200)
            self.end_headers()
            self.wfile.write(body or b"")

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", http_port), Handler)
    server.daemon_threads = True
    answers.http_port = server.server_address[1]
    listener = socket.create_server(("127.0.0.1", tls_port), backlog=128)
    answers.tls_port = listener.getsockname()[1]
    threads = [
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True),
        threading.Thread(target=_answer_tls, args=(listener, answers), daemon=True),
    ]
    for thread in threads:
        thread.start()
    try:
        yield answers
    finally:
        server.shutdown()
        server.server_close()
        with contextlib.suppress(OSError):
            listener.shutdown(2)
        listener.close()
        for thread in threads:
            thread.join(5)


def _answer_tls(listener: Any, answers: Answers) -> None:
    base = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)

    def choose(sock: Any, name: str | None, _: ssl.SSLContext) -> int | None:
        context = answers.source.challenge_context(name or "")
        if context is None:
            return ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME
        sock.context = context
        return None

    base.sni_callback = choose
    base.set_alpn_protocols(["acme-tls/1"])
    while True:
        try:
            sock, _ = listener.accept()
        except OSError:
            return
        with sock, contextlib.suppress(OSError):
            sock.settimeout(5)
            with base.wrap_socket(sock, server_side=True) as tls:
                answers.tls_handshakes += 1
                tls.recv(1)
