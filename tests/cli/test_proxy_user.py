"""`portway proxy user`: users of a forward proxy."""

import json
import stat
from pathlib import Path

import pytest

from portway.credentials.password_file import PROXY_USERS, read_users
from portway.protocol.password_hash import parse_password_hash
from tests.cli.conftest import Portway


def test_a_user_is_added_changed_listed_and_removed(portway: Portway, tmp_path: Path) -> None:
    file = tmp_path / "users.txt"
    added = portway("proxy", "user", "add", "ann", "--users", str(file), input="sesame\n")
    assert (added.exit_code, added.stdout) == (0, "")
    assert f"ann added to {file}; running proxies apply it" in added.stderr
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    changed = portway("proxy", "user", "add", "ann", "--users", str(file), input="other\n")
    assert f"ann changed in {file}" in changed.stderr
    portway("proxy", "user", "add", "bob", "--users", str(file), input="barley\n")

    assert parse_password_hash(dict(read_users(file, kind=PROXY_USERS))["ann"]).matches(b"other")
    assert portway("proxy", "user", "list", "--users", str(file)).stdout == "ann\nbob\n"
    assert json.loads(portway("proxy", "user", "list", "--json", "--users", str(file)).stdout) == ["ann", "bob"]
    removed = portway("proxy", "user", "remove", "ann", "--users", str(file))
    assert f"ann removed from {file}" in removed.stderr
    assert portway("proxy", "user", "list", "--users", str(file)).stdout == "bob\n"
    missing = portway("proxy", "user", "remove", "ann", "--users", str(file))
    assert (missing.exit_code, "unknown user 'ann'" in missing.stderr) == (2, True)


def test_the_file_may_come_from_the_proxy_or_from_its_configuration(portway: Portway, tmp_path: Path) -> None:
    file, config = tmp_path / "users.txt", tmp_path / "portway.toml"
    config.write_text(f'[proxy]\nusers = "{file}"\n')
    assert portway("proxy", "--users", str(file), "user", "add", "ann", input="sesame\n").exit_code == 0
    assert portway("proxy", "--config", str(config), "user", "list").stdout == "ann\n"


@pytest.mark.parametrize(
    ("words", "password", "message"),
    [
        (("add", "ann"), "x", "--users: missing"),
        (("list", "--users", "/nowhere/users"), "", "not found; `portway proxy user add USER` creates it"),
        (("add", "a:b", "--users", "users"), "x", "user name 'a:b'"),
        (("add", "ann", "--users", "users"), "", "password of 0 bytes"),
    ],
)
def test_what_cannot_work_is_an_error(
    portway: Portway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], password: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    done = portway("proxy", "user", *words, input=password)

    assert done.exit_code == 2
    assert message in done.stderr
    assert list(tmp_path.iterdir()) == []
