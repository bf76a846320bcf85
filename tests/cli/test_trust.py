"""`portway trust` prints the root, and changes trust stores after a confirmation."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from portway.certificates.dev_ca import ROOT_FILE, ensure_ca
from portway.clock import wall
from tests.certificates.kit import installed
from tests.cli.conftest import Portway
from tests.kit.certificates import make_identity


@pytest.fixture
def data(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(home))
    data = home / "XDG_DATA_HOME" / "portway"
    ensure_ca(data, "tunnel.example.org", wall())
    return data


@pytest.fixture
def database(home: Path) -> Path:
    folder = home / ".pki" / "nssdb"
    folder.mkdir(parents=True)
    subprocess.run([installed("certutil"), "-N", "-d", f"sql:{folder}", "--empty-password"], check=True)
    return folder


def names_in(database: Path) -> str:
    return subprocess.run([installed("certutil"), "-L", "-d", f"sql:{database}"], capture_output=True, text=True, check=True).stdout


def test_the_path_of_the_root_is_printed_alone(portway: Portway, data: Path) -> None:
    result = portway("trust")

    assert (result.exit_code, result.stdout, result.stderr) == (0, f"{data / ROOT_FILE}\n", "")
    assert portway("trust", "--data", os.path.relpath(data)).stdout == result.stdout


def test_without_a_root_the_next_step_is_named(portway: Portway, home: Path) -> None:
    result = portway("trust", "--data", str(home / "empty"))

    assert result.exit_code == 2
    assert "Start the server with --dev-tls once" in result.stderr
    assert not (home / "empty").exists()


def test_install_shows_what_changes_and_does_it_and_uninstall_takes_it_back(portway: Portway, data: Path, database: Path) -> None:
    result = portway("trust", "--install", "--store", "browsers", "--yes")

    assert (result.exit_code, result.stdout) == (0, "")
    assert "It can only sign for tunnel.example.org and localhost, names under these, 127.0.0.0/8 and ::1." in result.stderr
    assert f"certutil -A -d sql:{database} " in result.stderr
    assert f"done: Chromium ({database})" in result.stderr
    assert "Portway development CA" in names_in(database)
    assert "Already there" in portway("trust", "--install", "--store", "browsers").stderr
    assert portway("trust", "--uninstall", "--store", "browsers", "--yes").exit_code == 0
    assert "Portway" not in names_in(database)


def test_the_root_of_another_machine_is_installed_from_a_copy(portway: Portway, data: Path, database: Path, tmp_path: Path) -> None:
    copy = tmp_path / "root.pem"
    (data / ROOT_FILE).rename(copy)

    assert portway("trust", "--install", "--root", str(copy), "--store", "browsers", "--yes").exit_code == 0
    assert "Portway development CA" in names_in(database)
    assert portway("trust", "--root", str(copy)).stdout == f"{copy}\n"
    other = make_identity(tmp_path, "Any CA", authority=True)
    for file in (other.cert_file, other.key_file, tmp_path / "missing.pem"):
        refused = portway("trust", "--install", "--root", str(file), "--yes")
        assert refused.exit_code == 2
        assert "expected the root of a development CA" in refused.stderr


def test_without_a_terminal_nothing_changes_unless_it_is_confirmed_before(portway: Portway, data: Path, database: Path) -> None:
    result = portway("trust", "--install", "--store", "browsers", input="y\n")

    assert result.exit_code == 2
    assert "--install: requires a terminal for the confirmation; skip it with --yes" in result.stderr
    assert "Portway" not in names_in(database)


def test_a_user_at_a_terminal_is_asked(home: Path, data: Path, database: Path) -> None:
    script = shutil.which("script")
    if script is None:
        pytest.skip("script (util-linux) is not installed; see scripts/test-deps")
    for answer, code, count in (("n", 1, 0), ("y", 0, 1)):
        command = ["portway", "trust", "--install", "--store", "browsers"]
        argv = [script, "-qec", f"python -m {' '.join(command)}", "/dev/null"]
        env = {**os.environ, "PATH": f"{Path(os.sys.executable).parent}:{os.environ['PATH']}"}  # type: ignore[attr-defined]
        done = subprocess.run(argv, input=f"{answer}\n", capture_output=True, text=True, timeout=60, env=env, check=False)
        assert "Continue? [y/N]" in done.stdout
        assert done.returncode == code
        assert names_in(database).count("Portway") == count


def test_a_failed_change_is_an_error(portway: Portway, data: Path, database: Path) -> None:
    (database / "cert9.db").write_bytes(b"damaged" * 1000)

    result = portway("trust", "--install", "--store", "browsers", "--yes")

    assert result.exit_code == 1
    assert f"failed: Chromium ({database})" in result.stderr


def test_install_and_uninstall_exclude_each_other(portway: Portway, data: Path) -> None:
    assert portway("trust", "--install", "--uninstall").exit_code == 2
