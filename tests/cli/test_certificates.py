"""`portway certificates` asks running servers, otherwise reads the files."""

import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from portway.certificates.acme.files import AcmeFiles
from portway.certificates.acme.settings import LETS_ENCRYPT
from portway.certificates.certificate import parse_bundle
from portway.certificates.dev_ca import ensure_ca
from portway.certificates.events import CertificateFailed, CertificateUp
from portway.clock import wall
from portway.server.reporting.status import ServerStatusTracker
from tests.certificates.kit import bundle
from tests.cli.conftest import Portway
from tests.kit.certificates import make_identity


@pytest.fixture
def running(home: Path) -> Iterator[None]:
    """A server's status socket."""
    tracker = ServerStatusTracker(wall)
    tracker(CertificateUp("files", "/etc/a.pem", ("*.example.org",), "Example CA", wall() + 30 * 86_400 + 60))
    tracker(CertificateUp("acme", "app.example.org", ("app.example.org",), "Example CA", 1_500_000_000.0))
    tracker(CertificateFailed("acme", "app.example.org", "no answer", stays=True, next_attempt=1_800_000_000.0))
    (home / "XDG_RUNTIME_DIR" / "portway").mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(home / "XDG_RUNTIME_DIR" / "portway" / "server-1.sock"))
        listener.listen()

        def serve() -> None:
            while True:
                try:
                    client, _ = listener.accept()
                except OSError:
                    return
                with client:
                    client.sendall(tracker.to_json())

        thread = threading.Thread(target=serve)
        thread.start()
        yield
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(10)


@pytest.fixture
def folder(home: Path) -> Path:
    """A directory with a certificate and a broken file."""
    folder = home / "certificates"
    folder.mkdir()
    site = make_identity(home, "app.example.org")
    (folder / "site.pem").write_bytes(bundle(site))
    (folder / "site.pem").chmod(0o600)
    (folder / "broken.pem").write_bytes(bundle(site)[:-99])
    return folder


@pytest.mark.usefixtures("running")
def test_a_running_server_is_asked(portway: Portway) -> None:
    result = portway("certificates")

    assert result.exit_code == 1
    lines = result.stdout.splitlines()
    assert lines[0].split() == ["NAMES", "SOURCE", "ISSUER", "EXPIRES", "NEXT", "ATTEMPT", "ERROR"]
    assert lines[1].startswith("*.example.org    files: /etc/a.pem  Example CA  ")
    assert "(30d left)" in lines[1]
    assert lines[2].split() == ["app.example.org", "acme", "Example", "CA", "2017-07-14", "(expired)", "2027-01-15T08:00Z", "no", "answer"]


@pytest.mark.usefixtures("running")
def test_json_has_every_fact(portway: Portway) -> None:
    rows = json.loads(portway("certificates", "--json").stdout)

    assert rows[1] == {
        "names": ["app.example.org"],
        "source": "acme",
        "id": "app.example.org",
        "issuer": "Example CA",
        "not_after": "2017-07-14T02:40:00.000Z",
        "last_error": "no answer",
        "next_attempt": "2027-01-15T08:00:00.000Z",
        "server": rows[0]["server"],
    }


def test_without_a_server_the_files_are_read(portway: Portway, folder: Path, home: Path) -> None:
    ensure_ca(home / "XDG_DATA_HOME" / "portway", "localhost", wall())
    rows = json.loads(portway("certificates", "--json", env={"PORTWAY_CERTIFICATES": str(folder)}).stdout)

    assert [(row["source"], row["names"], bool(row["last_error"]), row["server"]) for row in rows] == [
        ("files", ["app.example.org"], False, None),
        ("files", [], True, None),
        ("dev", ["localhost", "*.localhost"], False, None),
    ]


@pytest.mark.usefixtures("running")
def test_files_that_are_named_are_checked_although_a_server_runs(portway: Portway, folder: Path) -> None:
    result = portway("certificates", "--certificates", str(folder))

    assert result.exit_code == 1
    assert f"files: {folder}/site.pem" in result.stdout
    assert "a line with END is missing" in result.stdout
    assert "/etc/a.pem" not in result.stdout


def test_nothing_to_list_is_no_error_and_creates_nothing(portway: Portway, home: Path) -> None:
    result = portway("certificates")

    assert (result.exit_code, result.stdout) == (0, "")
    assert "No server of yours is running" in result.stderr
    assert list((home / "XDG_DATA_HOME").iterdir()) == []


def test_a_directory_that_does_not_exist_is_an_error(portway: Portway, home: Path) -> None:
    result = portway("certificates", "--certificates", str(home / "missing"))

    assert result.exit_code == 2
    assert "cannot be read" in result.stderr


def test_saved_certificates_of_a_ca_are_listed_without_a_server(portway: Portway, home: Path) -> None:
    issued = parse_bundle(bundle(make_identity(home, "shop.example.org")))
    AcmeFiles.for_ca(home / "server", LETS_ENCRYPT).save_certificate("shop.example.org", issued)

    result = portway("certificates", "--json", "--data", str(home / "server"))

    [row] = json.loads(result.stdout)
    assert (row["source"], row["id"], row["names"], row["last_error"]) == ("acme", "shop.example.org", ["shop.example.org"], "")
    assert row["next_attempt"] < row["not_after"]
