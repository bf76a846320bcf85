"""Folders that are ours alone, or none."""

import os
import stat
from pathlib import Path

import pytest

from portway.config.paths import data_dir, private_dir, runtime_dir
from portway.errors import ConfigError


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_data_directory_follows_xdg_and_ignores_a_relative_one() -> None:
    assert data_dir({"XDG_DATA_HOME": "/x", "HOME": "/h"}) == Path("/x/portway")
    assert data_dir({"XDG_DATA_HOME": "x", "HOME": "/h"}) == Path("/h/.local/share/portway")
    assert data_dir({"HOME": "/h"}) == Path("/h/.local/share/portway")


def test_the_runtime_directory_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        made = runtime_dir({"XDG_RUNTIME_DIR": str(tmp_path)})
    finally:
        os.umask(old)

    assert made == tmp_path / "portway"
    assert mode(made) == 0o700


def test_without_xdg_it_stands_in_the_shared_folder_by_user_id(tmp_path: Path) -> None:
    made = runtime_dir({}, shared=tmp_path)

    assert made == tmp_path / f"portway-{os.getuid()}"
    assert mode(made) == 0o700


def test_a_link_in_its_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / f"portway-{os.getuid()}").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(ConfigError, match="expected a folder of your own"):
        runtime_dir({}, shared=tmp_path)


def test_a_file_in_its_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "portway").write_text("")

    with pytest.raises(ConfigError, match="expected a folder of your own"):
        runtime_dir({"XDG_RUNTIME_DIR": str(tmp_path)})


def test_somebody_elses_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "portway-4711").mkdir()  # ours, while 4711 asks

    with pytest.raises(ConfigError, match=rf"belongs to user {os.getuid()}, not to you \(4711\)"):
        runtime_dir({}, uid=4711, shared=tmp_path)


def test_a_folder_of_ours_that_is_open_to_others_is_closed(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir(mode=0o755)

    assert mode(private_dir(tmp_path / "mine")) == 0o700


def test_what_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(ConfigError, match="cannot be used as a folder"):
        private_dir(tmp_path / "file" / "inside")
