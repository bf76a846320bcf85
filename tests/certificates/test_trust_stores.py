"""Trust stores, by the real programs: NSS databases of a temporary home, and a system store in a temporary folder."""

import os
import subprocess
from pathlib import Path

import pytest
from cryptography import x509

from portway.certificates.contexts import visitor_context
from portway.certificates.dev_ca import ROOT_FILE, ensure_ca, read_roots
from portway.certificates.trust_stores import CHROMIUM_DATABASES, Plan, TrustStores, nickname, short_fingerprint
from portway.clock import wall
from tests.certificates.kit import curl, https_server, installed
from tests.kit.certificates import make_identity

PATH = os.environ["PATH"]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    ensure_ca(tmp_path / "data", "localhost", wall())
    return tmp_path / "data"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home = tmp_path / "home"
    home.mkdir()
    return home


def new_database(folder: Path) -> Path:
    folder.mkdir(parents=True)
    subprocess.run([installed("certutil"), "-N", "-d", f"sql:{folder}", "--empty-password"], check=True)
    return folder


def names_in(database: Path) -> str:
    return subprocess.run([installed("certutil"), "-L", "-d", f"sql:{database}"], capture_output=True, text=True, check=True).stdout


def is_trusted_for_tls(database: Path, root: x509.Certificate) -> bool:
    """Return whether NSS itself accepts the root as an authority for servers (usage L)."""
    command = [installed("certutil"), "-V", "-d", f"sql:{database}", "-n", nickname(root), "-u", "L"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def applied(plan: Plan) -> Plan:
    assert [reason for change in plan.changes if (reason := change.apply())] == []
    return plan


def test_databases_of_chromium_and_firefox_get_the_root_and_lose_it_again(data: Path, home: Path) -> None:
    databases = [new_database(home / CHROMIUM_DATABASES[0]), new_database(home / ".mozilla/firefox/abc.default")]
    roots, stores = read_roots(data), TrustStores(home, PATH, is_root=True)

    plan = applied(stores.plan_browsers(roots, data / ROOT_FILE, install=True))

    assert [change.store for change in plan.changes] == [f"Chromium ({databases[0]})", f"Firefox ({databases[1]})"]
    assert all(is_trusted_for_tls(database, roots[0]) for database in databases)
    again = stores.plan_browsers(roots, data / ROOT_FILE, install=True)
    assert (again.changes, len(again.done), again.hints) == ([], 2, [])
    applied(stores.plan_browsers(roots, data / ROOT_FILE, install=False))
    assert not any("Portway" in names_in(database) for database in databases)
    assert stores.plan_browsers(roots, data / ROOT_FILE, install=False).changes == []


def test_the_database_of_chromium_may_be_in_another_folder(data: Path, home: Path, tmp_path: Path) -> None:
    database = new_database(tmp_path / "xdg/pki/nssdb")
    environ = {"HOME": str(home), "PATH": PATH, "XDG_DATA_HOME": str(tmp_path / "xdg")}

    plan = TrustStores.of(environ).plan_browsers(read_roots(data), data / ROOT_FILE, install=True)

    assert [change.store for change in plan.changes] == [f"Chromium ({database})"]


def test_earlier_roots_are_removed_too(data: Path, home: Path) -> None:
    database = new_database(home / CHROMIUM_DATABASES[0])
    stores = TrustStores(home, PATH, is_root=True)
    applied(stores.plan_browsers(read_roots(data), data / ROOT_FILE, install=True))
    ensure_ca(data, "tunnel.example.org", wall())
    applied(stores.plan_browsers(read_roots(data), data / ROOT_FILE, install=True))
    assert names_in(database).count("Portway") == 2

    (change,) = applied(stores.plan_browsers(read_roots(data), data / ROOT_FILE, install=False)).changes

    assert len(change.commands) == 2
    assert "Portway" not in names_in(database)


def test_a_chromium_that_was_never_started_gets_a_database(data: Path, home: Path, tmp_path: Path) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "chromium").symlink_to("/bin/true")
    roots = read_roots(data)

    plan = applied(TrustStores(home, f"{programs}:{PATH}", is_root=True).plan_browsers(roots, data / ROOT_FILE, install=True))

    assert len(plan.changes) == 1
    assert is_trusted_for_tls(home / CHROMIUM_DATABASES[0], roots[0])
    assert (home / CHROMIUM_DATABASES[0]).stat().st_mode & 0o077 == 0


def test_without_certutil_the_package_is_named(data: Path, home: Path) -> None:
    new_database(home / CHROMIUM_DATABASES[0])
    stores = TrustStores(home, "", is_root=True)

    plan = stores.plan_browsers(read_roots(data), data / ROOT_FILE, install=True)

    assert plan.changes == []
    assert "libnss3-tools on Debian" in plan.hints[0]


def test_without_browsers_nothing_is_planned(data: Path, home: Path) -> None:
    assert TrustStores(home, "", is_root=True).plan_browsers(read_roots(data), data / ROOT_FILE, install=True) == Plan()


def test_a_failure_of_certutil_is_reported_with_its_command(data: Path, home: Path) -> None:
    database = new_database(home / CHROMIUM_DATABASES[0])
    (change,) = TrustStores(home, PATH, is_root=True).plan_browsers(read_roots(data), data / ROOT_FILE, install=True).changes
    (data / ROOT_FILE).unlink()

    reason = change.apply()

    assert reason.startswith(change.lines()[0] + ": ")
    assert ROOT_FILE in reason.removeprefix(change.lines()[0])
    assert "Portway" not in names_in(database)


def system(tmp_path: Path, path: str = PATH, *, is_root: bool = True) -> TrustStores:
    """Return stores whose system store is in a temporary folder."""
    folders = {option: tmp_path / "system" / option for option in ("localcertsdir", "etccertsdir", "certsdir", "hooksdir")}
    for folder in folders.values():
        folder.mkdir(parents=True)
    (tmp_path / "system" / "conf").write_text("other.crt\n")
    (folders["certsdir"] / "other.crt").write_bytes(make_identity(tmp_path, "Other CA", authority=True).cert_file.read_bytes())
    options = [part for option, folder in folders.items() for part in (f"--{option}", str(folder))]
    update = (Path(installed("update-ca-certificates")).name, "--certsconf", str(tmp_path / "system" / "conf"), *options)
    return TrustStores(tmp_path / "home", path, is_root, anchors=folders["localcertsdir"], update=update)


def test_the_systems_store_gets_the_root_and_loses_it_again(data: Path, tmp_path: Path) -> None:
    stores, roots = system(tmp_path), read_roots(data)
    bundle = tmp_path / "system" / "etccertsdir" / "ca-certificates.crt"
    ca = ensure_ca(data, "localhost", wall())

    applied(stores.plan_system(roots, data / ROOT_FILE, install=True))

    with https_server(visitor_context(ca.sign("app.localhost", wall()).pem)) as port:
        assert curl("app.localhost", port, "--cacert", bundle).stdout == "ok"
    assert stores.plan_system(roots, data / ROOT_FILE, install=True).done == ["the system's store"]
    applied(stores.plan_system(roots, data / ROOT_FILE, install=False))
    assert list((tmp_path / "system" / "localcertsdir").iterdir()) == []
    assert bundle.read_text().count("BEGIN") == 1
    assert [path.name for path in bundle.parent.glob("portway*")] == []
    assert stores.plan_system(roots, data / ROOT_FILE, install=False).done == ["the system's store"]


def test_users_change_the_systems_store_by_sudo_and_see_the_commands(data: Path, tmp_path: Path) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "sudo").symlink_to("/usr/bin/env")
    roots = read_roots(data)

    (change,) = applied(system(tmp_path, f"{programs}:{PATH}", is_root=False).plan_system(roots, data / ROOT_FILE, install=True)).changes

    target = tmp_path / "system" / "localcertsdir" / f"portway-dev-ca-{short_fingerprint(roots[0])}.crt"
    assert change.lines()[0] == f"{programs}/sudo install -m 0644 {data / ROOT_FILE} {target}"
    assert target.read_bytes() == (data / ROOT_FILE).read_bytes()


def test_where_the_systems_store_cannot_be_changed_the_commands_are_shown(data: Path, tmp_path: Path) -> None:
    roots = read_roots(data)
    plan = system(tmp_path, "", is_root=False).plan_system(roots, data / ROOT_FILE, install=True)
    assert not plan.changes
    assert "requires root; run as root: install -m 0644" in plan.hints[0]

    for install, word in ((True, f"trust anchor {data / ROOT_FILE}"), (False, f"trust anchor --remove {data / ROOT_FILE}")):
        other = TrustStores(tmp_path, PATH, is_root=True, update=("no-such-program",)).plan_system(roots, data / ROOT_FILE, install=install)
        assert word in other.hints[0]
