"""Where an agent's join string comes from, and that it never leaks on the way."""

import stat
from pathlib import Path

import pytest

from portway.agent.join_store import (
    agent_folder,
    check_server_name,
    explicit_join_string,
    load_join_string,
    save_join_string,
    saved_servers,
)
from portway.errors import ConfigError
from portway.protocol.join_string import JoinString

SECRET = "s" * 43


def join(host: str = "example.org") -> JoinString:
    return JoinString("abc", SECRET, host, 4443, b"p" * 32)


def test_the_saved_one_is_found_and_private(tmp_path: Path) -> None:
    path = save_join_string(tmp_path / "data", join())

    assert load_join_string(None, {}, tmp_path / "data") == join()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    save_join_string(tmp_path / "data", join("other.org"))
    assert load_join_string(None, {}, tmp_path / "data") == join("other.org")


def test_a_file_takes_precedence_over_the_environment_and_the_saved_one(tmp_path: Path) -> None:
    save_join_string(tmp_path / "data", join("kept"))
    file = tmp_path / "file"
    file.touch(0o600)
    file.write_text(f"  {join('filed')}\r\n")
    environ = {"PORTWAY_JOIN": str(join("environ"))}

    assert load_join_string(file, environ, tmp_path / "data").host == "filed"
    assert load_join_string(None, environ, tmp_path / "data").host == "environ"
    assert explicit_join_string(None, {"PORTWAY_JOIN": ""}) is None


def test_without_any_the_error_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="run `portway join` and paste"):
        load_join_string(None, {}, tmp_path)


def test_a_file_that_is_missing_or_open_to_others_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--join-file: .*nowhere does not exist"):
        explicit_join_string(tmp_path / "nowhere", {})
    (tmp_path / "open").write_text(str(join()))
    (tmp_path / "open").chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        explicit_join_string(tmp_path / "open", {})


@pytest.mark.parametrize("text", [f"portway://abc.{SECRET}@", f"abc.{SECRET}", f"portway://abc.{SECRET}é@h:1", ""])
def test_an_invalid_one_is_named_by_its_source_and_never_repeated(text: str, tmp_path: Path) -> None:
    (tmp_path / "f").touch(0o600)
    (tmp_path / "f").write_text(text)

    with pytest.raises(ConfigError, match=r"--join-file .*/f: invalid join string") as found:
        explicit_join_string(tmp_path / "f", {})
    assert SECRET not in str(found.value)


def test_servers_have_names_and_an_unknown_one_is_an_error(tmp_path: Path) -> None:
    save_join_string(tmp_path, join("first"))
    save_join_string(tmp_path, join("second"), "office")

    assert load_join_string(None, {}, tmp_path).host == "first"
    assert load_join_string(None, {"PORTWAY_JOIN": str(join("environ"))}, tmp_path, "office").host == "second"
    assert saved_servers(tmp_path) == ["office"]
    with pytest.raises(ConfigError, match="unknown name home: saved names: office"):
        load_join_string(None, {}, tmp_path, "home")
    for name in ("../x", "", "a" * 64, ".hidden", "a/b"):
        with pytest.raises(ConfigError, match="invalid name .*: expected 1 to 63 letters"):
            check_server_name(name)


def test_a_flag_takes_precedence_over_the_environment_and_two_flags_are_an_error(tmp_path: Path) -> None:
    save_join_string(tmp_path, join("second"), "office")
    file = tmp_path / "file"
    file.touch(0o600)
    file.write_text(str(join("filed")))

    assert load_join_string(file, {"PORTWAY_SERVER": "office"}, tmp_path, "office").host == "filed"
    assert load_join_string(file, {"PORTWAY_JOIN_FILE": str(file)}, tmp_path, "office").host == "second"
    with pytest.raises(ConfigError, match="--server, --join-file: give one of them"):
        load_join_string(file, {}, tmp_path, "office")


def test_a_user_without_a_home_has_no_folder_and_needs_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    monkeypatch.setenv("HOME", "/dev/null")

    assert agent_folder(None) is None
    assert agent_folder(tmp_path) == tmp_path
    assert load_join_string(None, {"PORTWAY_JOIN": str(join("environ"))}, None).host == "environ"
    with pytest.raises(ConfigError, match="no data directory to read a saved one from; set PORTWAY_JOIN"):
        load_join_string(None, {}, None)
    monkeypatch.setenv("HOME", str(tmp_path / "new"))
    assert agent_folder(None) == tmp_path / "new" / ".local" / "share" / "portway"
    assert not (tmp_path / "new").exists()
