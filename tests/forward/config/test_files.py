from pathlib import Path

import pytest

from portway.config.values import ListenAddress
from portway.errors import ConfigError
from portway.forward.config.files import ForwardFiles, versions_of
from portway.forward.interfaces import User
from portway.forward.policy.patterns import read_pattern
from portway.forward.settings import ForwardSettings
from portway.forward.users.settings import UserSettings
from tests.credentials.test_password_file import HASH


def secret(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o600)
    return path


def test_lists_users_and_their_rules_are_loaded(tmp_path: Path) -> None:
    ads, work = tmp_path / "ads", tmp_path / "work"
    ads.write_text("ads.example\n##.banner\n||x.example^\n")
    work.write_text("work.example\n")
    file = secret(tmp_path / "users", f"ann:{HASH}\nbob:{HASH}\n")
    settings = ForwardSettings(
        users=file,
        block=(read_pattern("bad.example"),),
        block_list=(ads,),
        of_users={"ann": UserSettings(allow_list=(work,), max_tunnels=3), "eve": UserSettings()},
    )
    loaded = ForwardFiles().load(settings)

    assert loaded.users is not None
    assert {name: found.user for name, found in loaded.users.items()} == {"ann": User("ann", tunnels_max=3), "bob": User("bob")}
    (common, own) = loaded.rules.for_user(User("ann"))
    assert common.refuses_target("x.ads.example", 443)
    assert common.refuses_target("bad.example", 443)
    assert own.refuses_target("news.example", 443)
    assert own.refuses_target("work.example", 443) is None
    assert loaded.notes == (f"{ads}: 1 lines skipped: no names, hosts or ||NAME^ rules", f"[proxy.user.eve]: no such user in {file}")
    assert set(versions_of(settings, tmp_path / "c")) == {ads, work, file, tmp_path / "c"}


def test_without_a_file_of_users_there_are_none() -> None:
    loaded = ForwardFiles().load(ForwardSettings())

    assert loaded.users is None
    assert not loaded.rules.common.allow_private


def test_a_fixed_destination_may_be_private() -> None:
    assert ForwardFiles().load(ForwardSettings(destination=ListenAddress("10.0.0.1", 5432))).rules.common.allow_private


def test_a_file_of_users_that_others_can_read_is_refused(tmp_path: Path) -> None:
    file = secret(tmp_path / "users", f"ann:{HASH}\n")
    file.chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        ForwardFiles().load(ForwardSettings(users=file))


def test_a_file_that_is_broken_now_stays_as_it_was(tmp_path: Path) -> None:
    files, errors = ForwardFiles(), list[ConfigError]()
    settings = ForwardSettings(users=secret(tmp_path / "users", f"ann:{HASH}\n"))
    files.load(settings)
    secret(tmp_path / "users", "ann")

    loaded = files.load(settings, on_error=errors.append)
    assert loaded.users is not None
    assert list(loaded.users) == ["ann"]
    assert "line 1: invalid" in str(errors[0])
