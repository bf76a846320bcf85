"""`portway config`: path, example, check, edit."""

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Portway


@pytest.fixture
def file(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / "config"))
    return home / "config" / "portway" / "portway.toml"


def test_the_path_is_that_of_the_user_or_of_the_environment(portway: Portway, file: Path) -> None:
    assert portway("config", "path").stdout == f"{file}\n"
    assert portway("config", "path", env={"PORTWAY_CONFIG": "/srv/p.toml"}).stdout == "/srv/p.toml\n"


def test_the_example_has_no_errors_and_nor_has_all_that_it_comments_out(portway: Portway, tmp_path: Path) -> None:
    example = portway("config", "example").stdout
    full = "\n".join(line.removeprefix("# ") if "=" in line or line.startswith("# [") else line for line in example.splitlines()[3:])
    (tmp_path / "api.users").touch(mode=0o600)
    made = portway("passwd", str(tmp_path / "api.users"), "ada", input="long enough a password\nlong enough a password\n")
    assert made.exit_code == 0, made.output
    for text, tunnels in ((example, "1 tunnel\n"), (full, "3 tunnels\n")):
        (tmp_path / "p.toml").write_text(text)
        checked = portway("config", "check", str(tmp_path / "p.toml"), env={"USER": "ada"})
        assert (checked.exit_code, tunnels in checked.stdout) == (0, True), checked.output


def test_check_lists_tunnels_and_groups(portway: Portway, tmp_path: Path) -> None:
    path = tmp_path / "p.toml"
    path.write_text('[tunnels.blog]\ntarget = "3000"\ngroups = ["web"]\n[tunnels.ssh]\nkind = "tcp"\ntarget = "22"\n')

    text, document = portway("config", "check", str(path)), portway("config", "check", "--json", str(path))

    assert text.stdout == f"{path}: no errors, 2 tunnels\n  blog  http localhost:3000  (web)\n  ssh   tcp  localhost:22\n"
    assert json.loads(document.stdout)["tunnels"][0] == {"label": "blog", "kind": "http", "target": "localhost:3000", "groups": ["web"]}


def test_check_reports_errors_of_tunnels_and_of_a_server_in_the_same_file(portway: Portway, tmp_path: Path) -> None:
    path = tmp_path / "p.toml"
    path.write_text('[server]\nhttp = "nonsense"\n[tunnels.blog]\ntarget = "3000"\n')
    found = portway("config", "check", str(path))
    assert found.exit_code == 2
    assert "server.http: expected an address" in found.stderr


def test_a_missing_file_is_an_error_with_what_to_do(portway: Portway, file: Path) -> None:
    for command in (("config", "check"), ("start", "--all")):
        found = portway(*command)
        assert found.exit_code == 2
        assert f"{file}: no such file; `portway config edit` creates it" in found.stderr


def test_edit_creates_the_file_from_the_example_and_checks_it_afterwards(portway: Portway, file: Path, tmp_path: Path) -> None:
    editor = tmp_path / "editor"
    editor.write_text('#!/bin/sh\necho \'[tunnels.new]\ntarget = "4000"\' >> "$1"\n')
    editor.chmod(0o755)

    edited = portway("config", "edit", env={"VISUAL": str(editor)})

    assert edited.exit_code == 0, edited.output
    assert file.stat().st_mode & 0o777 == 0o600
    assert "new   http localhost:4000" in edited.stdout
    editor.write_text("#!/bin/sh\necho 'targit = 1' >> \"$1\"\n")
    broken = portway("config", "edit", env={"VISUAL": str(editor)})
    assert broken.exit_code == 2
    assert "tunnels.new.targit: unknown setting" in broken.stderr


def test_the_table_of_the_proxy_is_checked_with_its_files(portway: Portway, tmp_path: Path) -> None:
    file = tmp_path / "portway.toml"
    file.write_text('[proxy]\nblock = ["a.example:80,443"]\n[tunnels.a]\ntarget = "3000"\n')
    assert portway("config", "check", str(file)).exit_code == 0
    for text, message in (
        ("blok = 1", "$.proxy.blok: unknown setting; did you mean block?"),
        ('users = "/nowhere"', "/nowhere: not found"),
    ):
        file.write_text(f"[proxy]\n{text}\n")
        done = portway("config", "check", str(file))
        assert done.exit_code == 2
        assert message in done.stderr


def test_a_file_of_http_tunnel_is_checked(portway: Portway, tmp_path: Path) -> None:
    pytest.importorskip("yaml")
    file = tmp_path / "http-tunnel.yaml"
    file.write_text("client_connection: {initiation_timeout: 10s}\n")
    assert "no errors, a file of http-tunnel" in portway("config", "check", str(file)).stdout
    file.write_text("client_connection: {initiation_timeout: soon}\n")
    assert "line 1: $.client_connection.initiation_timeout: invalid duration" in portway("config", "check", str(file)).stderr
