"""Plain HTTP beside HTTPS, with real programs and curl: redirects, HSTS, passwords, and names of tls tunnels."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.curl import Curl, Got
from tests.e2e.world import World, event
from tests.kit.certificates import Identity, make_identity
from tests.kit.http_origin import HttpOrigin


@pytest.fixture
def origin() -> Iterator[HttpOrigin]:
    with HttpOrigin() as origin:
        yield origin


@pytest.fixture(params=["1", "2"], ids=["one process", "two workers"])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    """A server whose development certificates count like real ones."""
    with World(https=True, server_flags=("--dev-tls", "--workers", request.param)) as world:
        world.start_server()
        yield world


def curl(world: World, url: str, *options: str) -> Got:
    """Run curl with the server's names and root."""
    resolve = [word for port in (world.http_port, world.https_port) for word in ("--resolve", f"*:{port}:127.0.0.1")]
    with Curl(*resolve, "--cacert", str(world.ca_file), *options, url) as running:
        return running.finish()


def asked(world: World, url: str, *options: str) -> tuple[int, str, str]:
    """Return status, Portway-Error and Location of a request."""
    got = curl(world, url, "-o", "/dev/null", "-w", "%{http_code} %header{portway-error} %header{location}", *options)
    assert got.code == 0, got
    status, code, location = got.tail.decode().split(" ")
    return int(status), code, location


def plain(world: World, path: str = "/hello", name: str = "app") -> str:
    return f"http://{name}.localhost:{world.http_port}{path}"


def secure(world: World, path: str = "/hello", name: str = "app") -> str:
    return f"https://{name}.localhost:{world.https_port}{path}"


def test_plain_http_leads_to_the_same_url_over_https(world: World, origin: HttpOrigin) -> None:
    event(world.agent(world.token(), "http", str(origin.port), "--name", "app"), "tunnel_up")
    path = "/headers?a=%2F&b=//x"

    assert asked(world, plain(world, path)) == (308, "https_redirect", secure(world, path))
    assert asked(world, secure(world, path)) == (200, "", "")
    assert asked(world, plain(world, "/echo"), "-d", "a body") == (308, "https_redirect", secure(world, "/echo"))
    followed = curl(world, plain(world, "/headers"), "-L")
    assert followed.code == 0, followed
    assert ["X-Forwarded-Proto", "https"] in json.loads(followed.tail)["headers"]
    body = curl(world, plain(world, "/upload"), "-L", "--data", "a body", "-w", " %{num_redirects} %{method}")
    assert body.tail.endswith(b" 1 POST")


def test_a_name_without_https_is_served_over_plain_http(world: World, origin: HttpOrigin) -> None:
    join = world.token("wide", "--hosts", "*.example.org")
    event(world.agent(join, "http", str(origin.port), "--host", "app.example.org"), "tunnel_up")
    host = "Host: app.example.org"
    assert asked(world, plain(world), "-H", host)[0] == 200, "the development CA signs for local names only"


def test_a_tunnel_decides_about_plain_http(world: World, origin: HttpOrigin) -> None:
    join = world.token()
    event(world.agent(join, "http", str(origin.port), "--name", "app", "--plain-http", "serve"), "tunnel_up")
    event(world.agent(join, "http", str(origin.port), "--name", "two", "--plain-http", "refuse", data="two"), "tunnel_up")
    assert asked(world, plain(world)) == (200, "", "")
    assert asked(world, plain(world, name="two")) == (426, "https_required", "")
    assert asked(world, secure(world, name="two")) == (200, "", "")


def test_development_certificates_bring_no_hsts(world: World, origin: HttpOrigin) -> None:
    event(world.agent(world.token(), "http", str(origin.port), "--name", "app", "--hsts", "5m"), "tunnel_up")
    got = curl(world, secure(world), "-o", "/dev/null", "-w", "%{http_code} <%header{strict-transport-security}>")
    assert got.tail == b"200 <>"


def test_passwords_are_asked_for_over_https_only(world: World, origin: HttpOrigin) -> None:
    users = world.home / "users.txt"
    assert world.run("passwd", users, "ann", stdin="open sesame").code == 0
    event(world.agent(world.token(), "http", str(origin.port), "--name", "app", "--basic-auth-file", str(users)), "tunnel_up")
    assert asked(world, plain(world), "-u", "ann:open sesame") == (308, "https_redirect", secure(world))
    assert asked(world, secure(world)) == (401, "unauthorized", "")
    assert asked(world, secure(world), "-u", "ann:open sesame") == (200, "", "")


def test_plain_http_to_a_tls_tunnel_leads_to_its_own_certificate(world: World) -> None:
    event(world.agent(world.token(), "tls", "1", "--name", "db"), "tunnel_up")
    assert asked(world, plain(world, name="db")) == (308, "https_redirect", secure(world, name="db"))


@pytest.fixture
def certified(tmp_path: Path) -> Iterator[tuple[World, Identity]]:
    """A server with a certificate of the operator's own authority, for names of a real domain."""
    authority = make_identity(tmp_path, "Test CA", authority=True)
    leaf = make_identity(tmp_path, "app.example.org", "two.example.org", signed_by=authority)
    folder = tmp_path / "certificates"
    folder.mkdir()
    (folder / "app.pem").write_bytes(leaf.cert_file.read_bytes() + leaf.key_file.read_bytes())
    (folder / "app.pem").chmod(0o600)
    with World(https=True, server_flags=("--certificates", str(folder))) as world:
        world.start_server()
        yield world, authority


def test_real_certificates_bring_hsts_over_https(certified: tuple[World, Identity], origin: HttpOrigin) -> None:
    world, authority = certified
    join = world.token("wide", "--hosts", "*.example.org")
    event(world.agent(join, "http", str(origin.port), "--host", "app.example.org", "--hsts", "5m"), "tunnel_up")
    url = f"https://app.example.org:{world.https_port}"
    show = (
        "-o",
        "/dev/null",
        "-w",
        "%{http_code} <%header{strict-transport-security}> %header{portway-error}",
        "--cacert",
        str(authority.cert_file),
    )
    assert curl(world, f"{url}/hello", *show).tail == b"200 <max-age=300> "
    assert curl(world, f"http://app.example.org:{world.http_port}/hello", *show).tail == b"308 <> https_redirect"
    assert curl(world, f"{url}/hello", *show, "-H", "Host: two.example.org").tail == b"421 <> misdirected"
    assert curl(world, f"{url}/hello", *show, "-X", "BREW", "-H", "Expect: coffee").tail == b"417 <> expectation_failed"
