"""Where an agent's join string comes from, and that it never leaks on the way."""

import stat
from pathlib import Path

import pytest

from portway.agent.joining import find_join, given_join, keep_join
from portway.errors import ConfigError
from portway.protocol.join_string import JoinString

SECRET = "s" * 43


def join(host: str = "example.org") -> JoinString:
    return JoinString("abc", SECRET, host, 4443, b"p" * 32)


def test_the_kept_one_is_found_and_private(tmp_path: Path) -> None:
    path = keep_join(tmp_path / "data", join())

    assert find_join(None, {}, tmp_path / "data") == join()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    keep_join(tmp_path / "data", join("other.org"))
    assert find_join(None, {}, tmp_path / "data") == join("other.org")


def test_a_file_beats_the_environment_which_beats_the_kept_one(tmp_path: Path) -> None:
    keep_join(tmp_path / "data", join("kept"))
    file = tmp_path / "file"
    file.touch(0o600)
    file.write_text(f"  {join('filed')}\r\n")
    environ = {"PORTWAY_JOIN": str(join("environ"))}

    assert find_join(file, environ, tmp_path / "data").host == "filed"
    assert find_join(None, environ, tmp_path / "data").host == "environ"
    assert given_join(None, {"PORTWAY_JOIN": ""}) is None


def test_without_any_the_way_to_one_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="run `portway join` and paste"):
        find_join(None, {}, tmp_path)


def test_a_file_that_is_missing_or_open_to_others_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--join-file: .*nowhere is not there"):
        given_join(tmp_path / "nowhere", {})
    (tmp_path / "open").write_text(str(join()))
    (tmp_path / "open").chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        given_join(tmp_path / "open", {})


@pytest.mark.parametrize("text", [f"portway://abc.{SECRET}@", f"abc.{SECRET}", f"portway://abc.{SECRET}é@h:1", ""])
def test_a_broken_one_is_named_by_its_source_and_never_repeated(text: str, tmp_path: Path) -> None:
    (tmp_path / "f").touch(0o600)
    (tmp_path / "f").write_text(text)

    with pytest.raises(ConfigError, match=r"--join-file .*/f: this is no join string") as found:
        given_join(tmp_path / "f", {})
    assert SECRET not in str(found.value)
