"""The operator's certificates on a running server, with one process or several: changed, broken, listed."""

import json
import signal
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.world import World, event, events
from tests.kit.certificates import Identity, make_identity
from tests.kit.http_origin import HttpOrigin
from tests.kit.programs import DEADLINE_S, Program


@pytest.fixture(params=["1", "2"], ids=["one process", "workers"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    (tmp_path / "certificates").mkdir()
    flags = ("--workers", str(request.param), "--certificates", str(tmp_path / "certificates"))
    with World(https=True, server_flags=flags) as world:
        yield world


@pytest.fixture
def origin() -> Iterator[HttpOrigin]:
    with HttpOrigin() as origin:
        yield origin


def write(folder: Path, identity: Identity, cut: int = 0) -> None:
    """Replace the certificate for `app` as a program that renews it: in one step."""
    content = identity.key_file.read_bytes() + identity.cert_file.read_bytes()
    new = folder / "new.pem"
    new.write_bytes(content[: len(content) - cut])
    new.chmod(0o600)
    new.rename(folder / "certificates" / "app.pem")


def served(world: World, name: str = "app") -> bytes | None:
    """Return the certificate that a visitor gets."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with world.dial_tls(name, context=context) as tls:
        return tls.getpeercert(binary_form=True)


def wait_for(world: World, identity: Identity, handshakes: int = 1) -> float:
    """Wait until so many handshakes in a row get this certificate; return the seconds until the first."""
    begun, first, row = time.monotonic(), 0.0, 0
    while row < handshakes:
        assert time.monotonic() < begun + DEADLINE_S
        row = row + 1 if served(world) == identity.der else 0
        first = first or (time.monotonic() - begun if row else 0.0)
    return first


def rows(world: World) -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads(world.run("certificates", "--json").out)
    return found


def start(world: World, origin: HttpOrigin) -> Program:
    server = world.start_server()
    event(world.agent(world.token(), "http", str(origin.port), "--name", "app"), "tunnel_up")
    return server


def test_a_changed_certificate_is_served_and_a_broken_one_changes_nothing(world: World, origin: HttpOrigin, tmp_path: Path) -> None:
    first, second, third = (make_identity(tmp_path, "app.localhost") for _ in range(3))
    write(tmp_path, first)
    server = start(world, origin)
    assert served(world) == first.der
    write(tmp_path, second)
    assert event(server, "certificate_up", 3)["id"] == str(tmp_path / "certificates" / "app.pem")  # after the first one's, and the root's
    wait_for(world, second, handshakes=20)
    write(tmp_path, third, cut=100)
    failed = event(server, "certificate_failed")
    assert (failed["id"], failed["stays"]) == (str(tmp_path / "certificates" / "app.pem"), True)
    assert served(world) == second.der

    files, dev = rows(world)

    assert (files["names"], files["source"], files["server"]) == (["app.localhost"], "files", server.pid)
    assert files["last_error"] == failed["reason"]
    assert (dev["names"], dev["source"], dev["last_error"]) == (["localhost", "*.localhost"], "dev", "")
    write(tmp_path, third)
    wait_for(world, third)
    event(server, "certificate_up", 4)
    names = [name for name in ("certificate_up", "certificate_failed") for _ in events(server, name)]
    assert names == ["certificate_up"] * 4 + ["certificate_failed"], "each change is reported once, also with workers"


def test_sighup_reads_files_again_at_once(world: World, origin: HttpOrigin, tmp_path: Path) -> None:
    first, second = (make_identity(tmp_path, "app.localhost") for _ in range(2))
    write(tmp_path, first)
    server = start(world, origin)
    write(tmp_path, second)
    server.signal(signal.SIGHUP)

    assert wait_for(world, second) < 1.5, "later than at the first check"
    wait_for(world, second, handshakes=20)
