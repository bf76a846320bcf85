"""Tunnels that require client certificates, with curl: who gets in, what the service is told, and what nobody can forge."""

import base64
import json
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.curl import Curl, Got
from tests.e2e.world import World, event
from tests.kit.certificates import Identity, make_identity
from tests.kit.http_origin import HttpOrigin


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("clients")


def named(folder: Path, name: str, signed_by: Identity | None = None, *, authority: bool = False) -> Identity:
    (folder / name).mkdir(exist_ok=True)
    return make_identity(folder / name, name, signed_by=signed_by, authority=authority)


@pytest.fixture(scope="module")
def authority(folder: Path) -> Identity:
    return named(folder, "a CA of visitors", authority=True)


@pytest.fixture(scope="module")
def member(folder: Path, authority: Identity) -> Identity:
    return named(folder, "member", authority)


@pytest.fixture(scope="module")
def stranger(folder: Path) -> Identity:
    return named(folder, "stranger", named(folder, "another CA", authority=True))


@pytest.fixture(scope="module", params=["1", "2"], ids=["one process", "workers"])
def world(request: pytest.FixtureRequest, authority: Identity) -> Iterator[World]:
    with HttpOrigin() as origin, World(https=True, server_flags=("--workers", request.param)) as world:
        world.start_server("--dev-tls")
        join = world.token()
        ca = str(authority.cert_file)
        event(world.agent(join, "http", str(origin.port), "--name", "closed", "--client-ca", ca), "tunnel_up")
        event(world.agent(join, "http", str(origin.port), "--name", "open", data="other"), "tunnel_up")
        yield world


def get(world: World, name: str, *options: str, client: Identity | None = None) -> Got:
    host = f"{name}.localhost:{world.https_port}"
    words = ["--resolve", f"{host}:127.0.0.1", "--cacert", str(world.ca_file), *options]
    if client is not None:
        words += ["--cert", str(client.cert_file), "--key", str(client.key_file)]
    with Curl(*words, f"https://{host}/headers") as curl:
        return curl.finish()


def fields_of(got: Got) -> dict[str, str]:
    assert got.code == 0, got
    return {name.lower(): value for name, value in json.loads(got.tail)["headers"]}


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_the_service_gets_the_certificate_that_was_verified(world: World, member: Identity, version: str) -> None:
    fields = fields_of(get(world, "closed", f"--tlsv{version}", "--tls-max", version, client=member))
    assert fields["client-cert"] == f":{base64.b64encode(member.der).decode()}:"


def test_visitors_without_a_certificate_of_this_ca_are_refused_by_tls(world: World, stranger: Identity) -> None:
    for client in (None, stranger):
        got = get(world, "closed", client=client)
        assert got.code != 0
        assert "alert" in got.said or "certificate" in got.said, got


def test_nobody_can_forge_the_field(world: World, member: Identity) -> None:
    forged = ("-H", "Client-Cert: :Zm9yZ2Vk:", "-H", "Client_Cert: :Zm9yZ2Vk:", "-H", "Client-Cert-Chain: :Zm9yZ2Vk:")
    assert not [name for name in fields_of(get(world, "open", *forged)) if name.startswith("client")]
    fields = fields_of(get(world, "closed", *forged, client=member))
    assert [name for name in fields if name.startswith("client")] == ["client-cert"]
    assert "Zm9yZ2Vk" not in fields["client-cert"]


def test_there_is_no_plain_http_beside_it(world: World) -> None:
    answer = world.visit("closed")
    assert (answer.status, answer.error) == (308, "https_redirect")


def test_a_connection_of_another_name_does_not_get_in(world: World) -> None:
    context = ssl.create_default_context(cafile=str(world.ca_file))
    with world.dial_tls("open", context=context) as tls:
        tls.sendall(f"GET / HTTP/1.1\r\nHost: closed.localhost:{world.https_port}\r\n\r\n".encode())
        assert tls.recv(4096).startswith(b"HTTP/1.1 421 ")


def test_a_session_of_another_tunnel_does_not_get_in(world: World) -> None:
    """A ticket of a tunnel without client certificates is no proof for one with them."""
    context = ssl.create_default_context(cafile=str(world.ca_file))
    context.check_hostname = False
    with world.dial_tls("open", context=context) as tls:
        tls.sendall(f"GET / HTTP/1.1\r\nHost: open.localhost:{world.https_port}\r\n\r\n".encode())
        assert b"200 OK" in tls.recv(4096)
        session = tls.session
    with pytest.raises(OSError), world.dial_tls("closed", context=context, session=session) as tls:
        tls.sendall(f"GET / HTTP/1.1\r\nHost: closed.localhost:{world.https_port}\r\n\r\n".encode())
        assert tls.recv(4096) == b"an answer"


def test_a_bad_file_is_refused_at_once(world: World, member: Identity, folder: Path) -> None:
    empty = folder / "empty.pem"
    empty.write_text("# nothing\n")
    for file, reason in ((empty, "no certificate"), (member.key_file, "private key")):
        ended = world.run("http", "1", "--client-ca", str(file))
        assert ended.code == 2
        assert "--client-ca" in ended.err
        assert reason in ended.err
