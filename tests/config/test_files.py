"""Files with secrets: 0600, all or nothing, never through a link."""

import os
import stat
from pathlib import Path

import pytest

from portway.config.files import SECRET_BYTES_MAX, is_private_file, read_secret, write_secret
from portway.errors import ConfigError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "data"
    path.mkdir(mode=0o700)
    return path


def test_a_secret_is_written_for_its_owner_alone_whatever_the_umask(folder: Path) -> None:
    old = os.umask(0)
    try:
        assert write_secret(folder / "s", b"one", replace=False)
    finally:
        os.umask(old)

    assert stat.S_IMODE((folder / "s").stat().st_mode) == 0o600
    assert read_secret(folder / "s") == b"one"
    assert [path.name for path in folder.iterdir()] == ["s"]


def test_without_replace_whoever_was_first_wins(folder: Path) -> None:
    assert write_secret(folder / "s", b"first", replace=False)
    assert not write_secret(folder / "s", b"second", replace=False)

    assert read_secret(folder / "s") == b"first"


def test_with_replace_the_old_one_gives_way(folder: Path) -> None:
    write_secret(folder / "s", b"old", replace=False)
    assert write_secret(folder / "s", b"new", replace=True)

    assert read_secret(folder / "s") == b"new"


def test_a_link_planted_at_the_path_is_never_followed(folder: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("untouched")
    (folder / "s").symlink_to(victim)

    assert not write_secret(folder / "s", b"x", replace=False)
    with pytest.raises(ConfigError, match="is a link"):
        read_secret(folder / "s")
    with pytest.raises(ConfigError, match="is a link"):
        is_private_file(folder / "s")
    assert write_secret(folder / "s", b"x", replace=True)
    assert victim.read_text() == "untouched"
    assert not (folder / "s").is_symlink()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o660, 0o644, 0o601])
def test_a_secret_that_others_can_reach_is_refused_with_the_way_out(mode: int, folder: Path) -> None:
    write_secret(folder / "s", b"x", replace=False)
    (folder / "s").chmod(mode)

    for look in (read_secret, is_private_file):
        with pytest.raises(ConfigError, match=r"others on this machine can reach it; run `chmod 600 .*/s`"):
            look(folder / "s")


def test_what_is_not_there_is_none(folder: Path) -> None:
    assert read_secret(folder / "s") is None
    assert not is_private_file(folder / "s")


def test_a_folder_or_a_pipe_is_no_secret_and_never_blocks(folder: Path) -> None:
    os.mkfifo(folder / "pipe", 0o600)

    for path in (folder, folder / "pipe"):
        with pytest.raises(ConfigError, match="expected a file"):
            read_secret(path)


def test_the_wrong_file_is_not_read_whole(folder: Path) -> None:
    write_secret(folder / "s", b"x" * (SECRET_BYTES_MAX + 1), replace=False)

    with pytest.raises(ConfigError, match="this is some other file"):
        read_secret(folder / "s")


def test_a_path_that_the_user_named_may_be_a_link_or_a_pipe_but_no_open_file(folder: Path) -> None:
    write_secret(folder / "s", b"x", replace=False)
    (folder / "link").symlink_to(folder / "s")
    ours, theirs = os.pipe()
    os.write(theirs, b"piped")
    os.close(theirs)

    assert read_secret(folder / "link", follow=True) == b"x"
    assert read_secret(Path(f"/dev/fd/{ours}"), follow=True) == b"piped"
    os.close(ours)
    (folder / "s").chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        read_secret(folder / "link", follow=True)
