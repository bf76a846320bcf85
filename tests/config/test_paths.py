"""Directories are private to this user, or refused."""

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from portway.config.paths import data_dir, private_dir, runtime_dir
from portway.errors import ConfigError
from tests.kit.mounts import read_only
from tests.kit.programs import SOURCES


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_data_directory_follows_xdg_and_ignores_a_relative_one() -> None:
    assert data_dir({"XDG_DATA_HOME": "/x", "HOME": "/h"}) == Path("/x/portway")
    assert data_dir({"XDG_DATA_HOME": "x", "HOME": "/h"}) == Path("/h/.local/share/portway")
    assert data_dir({"HOME": "/h"}) == Path("/h/.local/share/portway")


NO_HOME = """
from portway.config.paths import data_dir
from portway.errors import ConfigError
try:
    data_dir({"HOME": ""})
except ConfigError as exc:
    print(exc)
"""


def test_without_a_home_directory_the_error_names_the_options() -> None:
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("only root can become a user without an entry in /etc/passwd")
    args = ["setpriv", "--reuid=47110", "--regid=47110", "--clear-groups", sys.executable, "-c", NO_HOME]
    environ = {name: value for name, value in os.environ.items() if name not in ("HOME", "XDG_DATA_HOME")}
    done = subprocess.run(args, env={**environ, "PYTHONPATH": str(SOURCES)}, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "data: user 47110 has no home directory; give a directory with --data or PORTWAY_DATA\n"


def test_a_directory_on_a_read_only_disk_may_be_roots_and_accessible(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir(mode=0o755)
    (tmp_path / "mine").chmod(0o755)
    code = "import sys; from pathlib import Path; from portway.config.paths import private_dir; print(private_dir(Path(sys.argv[1])))"
    args = [*read_only(tmp_path), sys.executable, "-c", code, str(tmp_path / "mine")]
    done = subprocess.run(args, env={**os.environ, "PYTHONPATH": str(SOURCES)}, capture_output=True, text=True, check=False)

    assert (done.stderr, done.stdout) == ("", f"{tmp_path / 'mine'}\n")
    assert mode(tmp_path / "mine") == 0o755


def test_the_runtime_directory_is_private_to_its_owner(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        made = runtime_dir({"XDG_RUNTIME_DIR": str(tmp_path)})
    finally:
        os.umask(old)

    assert made == tmp_path / "portway"
    assert mode(made) == 0o700


def test_without_xdg_it_is_in_the_shared_directory_with_the_user_id(tmp_path: Path) -> None:
    made = runtime_dir({}, shared=tmp_path)

    assert made == tmp_path / f"portway-{os.getuid()}"
    assert mode(made) == 0o700


def test_without_make_none_is_created_and_links_are_refused(tmp_path: Path) -> None:
    assert not runtime_dir({}, shared=tmp_path, make=False).exists()
    (tmp_path / f"portway-{os.getuid()}").symlink_to(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="not a directory of your own"):
        runtime_dir({}, shared=tmp_path, make=False)


def test_a_link_in_its_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / f"portway-{os.getuid()}").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(ConfigError, match="not a directory of your own"):
        runtime_dir({}, shared=tmp_path)


def test_a_file_in_its_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "portway").write_text("")

    with pytest.raises(ConfigError, match="not a directory of your own"):
        runtime_dir({"XDG_RUNTIME_DIR": str(tmp_path)})


def test_a_directory_of_another_user_is_refused(tmp_path: Path) -> None:
    (tmp_path / "portway-4711").mkdir()  # belongs to this user, but 4711 is checked

    with pytest.raises(ConfigError, match=rf"belongs to user {os.getuid()}, not to you \(4711\)"):
        runtime_dir({}, uid=4711, shared=tmp_path)


def test_an_own_directory_that_others_can_access_is_made_private(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir(mode=0o755)

    assert mode(private_dir(tmp_path / "mine")) == 0o700


def test_a_directory_that_cannot_be_created_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(ConfigError, match="cannot be used as a directory"):
        private_dir(tmp_path / "file" / "inside")
