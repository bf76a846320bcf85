"""The TLS port under connections that never finish their handshake, and while its certificates are replaced."""

import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.e2e.world import ReportMeasurement, World, event
from tests.kit.certificates import Identity, make_identity
from tests.kit.http_origin import HttpOrigin
from tests.kit.tls_wire import modern, records, server_name

HALF_OPEN = 2000
SOURCES = 20
INNOCENT_HANDSHAKES = 200
ROTATIONS = 8

HELLO = records(modern(server_name(b"app.localhost")))


@pytest.fixture(scope="module")
def origin() -> Iterator[HttpOrigin]:
    with HttpOrigin() as origin:
        yield origin


def handshakes_ms(world: World, count: int) -> list[float]:
    """Return the durations of handshakes one after the other, sorted; each is followed by a request."""
    durations = []
    for _ in range(count):
        begun = time.monotonic()
        with world.dial_tls("app") as tls:
            durations.append(1000 * (time.monotonic() - begun))
            tls.sendall(f"GET /hello HTTP/1.1\r\nHost: app.localhost:{world.https_port}\r\n\r\n".encode())
            assert b"200 OK" in tls.recv(4096)
    return sorted(durations)


@pytest.mark.parametrize("sent", [b"", HELLO[:60], HELLO], ids=["nothing", "part of a hello", "a hello"])
def test_half_open_handshakes_keep_no_visitor_out(
    origin: HttpOrigin, sent: bytes, report_measurement: ReportMeasurement, descriptors: int
) -> None:
    with World(https=True) as world, ExitStack() as held:
        world.start_server()
        event(world.agent(world.token(), "http", str(origin.port), "--name", "app"), "tunnel_up")
        alone = handshakes_ms(world, INNOCENT_HANDSHAKES)
        for number in range(min(HALF_OPEN, descriptors // 4)):
            source = (f"127.0.1.{number % SOURCES + 1}", 0)
            sock = held.enter_context(socket.create_connection(("127.0.0.1", world.https_port), source_address=source))
            sock.sendall(sent)
        beside = handshakes_ms(world, INNOCENT_HANDSHAKES)
        at = INNOCENT_HANDSHAKES * 99 // 100
        report_measurement(
            f"handshakes beside {HALF_OPEN} half-open ones that sent {len(sent)} bytes: median {beside[len(beside) // 2]:.1f} ms, "
            f"p99 {beside[at]:.1f} ms; alone {alone[len(alone) // 2]:.1f} and {alone[at]:.1f} ms"
        )


def install(folder: Path, identity: Identity) -> None:
    """Replace the certificate and its key together."""
    new = folder / "site.pem.new"
    new.touch(mode=0o600)
    new.write_bytes(identity.cert_file.read_bytes() + identity.key_file.read_bytes())
    new.replace(folder / "site.pem")


@pytest.mark.parametrize("count", [400, pytest.param(5000, marks=[pytest.mark.long, pytest.mark.timeout(600)])])
def test_no_handshake_fails_while_certificates_are_replaced(origin: HttpOrigin, count: int, tmp_path: Path) -> None:
    authority = make_identity(tmp_path, "a test authority", authority=True)
    folder = tmp_path / "certificates"
    folder.mkdir()
    for at in range(ROTATIONS):
        (tmp_path / str(at)).mkdir()
    sites = [make_identity(tmp_path / str(at), "app.localhost", signed_by=authority) for at in range(ROTATIONS)]
    install(folder, sites[0])
    with World(https=True) as world:
        world.start_server("--certificates", str(folder))
        agent = world.agent(world.token(), "http", str(origin.port), "--name", "app")
        assert event(agent, "tunnel_up")["url"].startswith("https://")
        seen: set[bytes] = set()
        done = threading.Event()

        def visit(_number: int) -> None:
            with world.dial_tls("app", ca_file=authority.cert_file) as tls:
                seen.add(tls.getpeercert(binary_form=True) or b"")
                tls.sendall(f"GET /hello HTTP/1.1\r\nHost: app.localhost:{world.https_port}\r\n\r\n".encode())
                assert b"200 OK" in tls.recv(4096)

        def rotate() -> None:
            at = 0
            while not done.wait(5):  # files that still change are not loaded: two checks, 2 s apart, must find the same
                at = (at + 1) % ROTATIONS
                install(folder, sites[at])

        rotation = threading.Thread(target=rotate)
        rotation.start()
        try:
            with ThreadPoolExecutor(4) as pool:
                list(pool.map(visit, range(count)))
            deadline = time.monotonic() + 30
            while len(seen) < 2:
                assert time.monotonic() < deadline, "the replaced certificate was never used"
                visit(0)
                time.sleep(0.1)
        finally:
            done.set()
            rotation.join()
        assert seen <= {site.der for site in sites}
