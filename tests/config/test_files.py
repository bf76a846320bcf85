"""Files with secrets: mode 0600, atomic, never through a link."""

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from portway.config.files import SECRET_BYTES_MAX, is_private_file, read_secret, write_secret
from portway.errors import ConfigError
from tests.kit.mounts import read_only, why_no_mounts
from tests.kit.programs import SOURCES


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "data"
    path.mkdir(mode=0o700)
    return path


def test_a_secret_is_private_to_its_owner_with_any_umask(folder: Path) -> None:
    old = os.umask(0)
    try:
        assert write_secret(folder / "s", b"one", replace=False)
    finally:
        os.umask(old)

    assert stat.S_IMODE((folder / "s").stat().st_mode) == 0o600
    assert read_secret(folder / "s") == b"one"
    assert [path.name for path in folder.iterdir()] == ["s"]


def test_without_replace_the_first_writer_wins(folder: Path) -> None:
    assert write_secret(folder / "s", b"first", replace=False)
    assert not write_secret(folder / "s", b"second", replace=False)

    assert read_secret(folder / "s") == b"first"


def test_with_replace_an_existing_file_is_replaced(folder: Path) -> None:
    write_secret(folder / "s", b"old", replace=False)
    assert write_secret(folder / "s", b"new", replace=True)

    assert read_secret(folder / "s") == b"new"


def test_a_link_planted_at_the_path_is_never_followed(folder: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("untouched")
    (folder / "s").symlink_to(victim)

    assert not write_secret(folder / "s", b"x", replace=False)
    with pytest.raises(ConfigError, match="symbolic link"):
        read_secret(folder / "s")
    with pytest.raises(ConfigError, match="symbolic link"):
        is_private_file(folder / "s")
    assert write_secret(folder / "s", b"x", replace=True)
    assert victim.read_text() == "untouched"
    assert not (folder / "s").is_symlink()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o660, 0o644, 0o601])
def test_a_secret_accessible_to_others_is_refused_with_a_remedy(mode: int, folder: Path) -> None:
    write_secret(folder / "s", b"x", replace=False)
    (folder / "s").chmod(mode)

    for check in (read_secret, is_private_file):
        with pytest.raises(ConfigError, match=r"accessible to other users; run `chmod 600 .*/s`"):
            check(folder / "s")


def test_a_missing_file_is_none(folder: Path) -> None:
    assert read_secret(folder / "s") is None
    assert not is_private_file(folder / "s")


def test_a_directory_or_pipe_is_refused_without_blocking(folder: Path) -> None:
    os.mkfifo(folder / "pipe", 0o600)

    for path in (folder, folder / "pipe"):
        with pytest.raises(ConfigError, match="not a regular file"):
            read_secret(path)


def test_a_file_that_is_too_large_is_refused(folder: Path) -> None:
    write_secret(folder / "s", b"x" * (SECRET_BYTES_MAX + 1), replace=False)

    with pytest.raises(ConfigError, match="too large: expected at most"):
        read_secret(folder / "s")


def test_a_path_from_the_user_may_be_a_link_or_pipe_but_not_accessible_to_others(folder: Path) -> None:
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


def test_a_shared_directory_keeps_its_mode(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir(mode=0o755)
    shared.chmod(0o755)

    assert write_secret(shared / "s", b"x", replace=False, own_folder=False)
    assert stat.S_IMODE(shared.stat().st_mode) == 0o755
    assert stat.S_IMODE((shared / "s").stat().st_mode) == 0o600
    with pytest.raises(ConfigError, match="cannot be written: No such file"):
        write_secret(tmp_path / "nowhere" / "s", b"x", replace=False, own_folder=False)


READ = """
import sys
from pathlib import Path
from portway.config.files import is_private_file, read_secret
from portway.errors import ConfigError
for path in map(Path, sys.argv[1:]):
    try:
        print(path.name, read_secret(path).decode(), is_private_file(path))
    except ConfigError as exc:
        print(path.name, str(exc).partition(": ")[2].partition("; run")[0])
"""

OTHER_USER = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")


def read_in(prefix: tuple[str, ...], *paths: Path) -> list[str]:
    """Read files in a separate process, and return the outcome for each."""
    argv = [*prefix, sys.executable, "-c", READ, *map(str, paths)]
    done = subprocess.run(argv, env={**os.environ, "PYTHONPATH": str(SOURCES)}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.fixture
def mounted() -> Iterator[Path]:
    """A directory of root that is readable by all, as secrets are mounted into containers."""
    with TemporaryDirectory(prefix="portway-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        for file, mode in (("all", 0o444), ("group", 0o440), ("open", 0o666)):
            (folder / file).write_bytes(b"secret")
            (folder / file).chmod(mode)
        (folder / "link").symlink_to("all")
        yield folder


@pytest.mark.parametrize("prefix", [(), OTHER_USER])
def test_a_secret_mounted_read_only_may_be_readable_by_all(prefix: tuple[str, ...], mounted: Path) -> None:
    in_mount = (*read_only(mounted), *prefix)

    assert read_in(in_mount, mounted / "all", mounted / "link") == ["all secret True", "link secret True"]
    assert read_in(in_mount, mounted / "open") == ["open contains a secret but is accessible to other users"]


@pytest.mark.parametrize("prefix", [(), OTHER_USER])
def test_a_secret_readable_by_all_is_refused_if_its_mode_could_be_changed(prefix: tuple[str, ...], mounted: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can be two users")

    assert read_in(prefix, mounted / "all") == ["all contains a secret but is accessible to other users"]
    assert read_in(prefix, mounted / "link") == ["link cannot be a symbolic link: expected a regular file for a secret"]


def test_a_secret_of_root_under_run_secrets_may_be_readable_by_all(mounted: Path) -> None:
    if why_no_mounts():
        pytest.skip(why_no_mounts())
    script = 'mkdir -p /run/secrets && mount --bind "$0" /run/secrets && exec "$@"'
    args = ("unshare", "-m", "--propagation", "private", "sh", "-c", "mount -t tmpfs none /run && " + script, str(mounted))

    assert read_in((*args, *OTHER_USER), Path("/run/secrets/all")) == ["all secret True"]
    assert read_in((*args, *OTHER_USER), Path("/run/secrets/open")) == ["open contains a secret but is accessible to other users"]
    assert read_in(args, Path("/run/secrets/all")) == ["all contains a secret but is accessible to other users"]
