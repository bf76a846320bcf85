"""A database on a full or read-only disk can be read, with everything that was committed."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from portway.errors import ConfigError
from portway.server.storage import database
from portway.server.storage.database import open_database, stamps_of
from tests.kit.mounts import full_disk, read_only
from tests.kit.programs import SOURCES

READ_AND_WRITE = """
import json, sys
from pathlib import Path
from portway.errors import PortwayError
from portway.server.storage.token_store import Store
try:
    with Store(Path(sys.argv[1])) as store:
        found = {"fixed": store.fixed, "revoked": [token.revoked_at for token in store.tokens()]}
        try:
            store.revoke("token2", 7.0)
        except PortwayError as exc:
            found["write"] = str(exc)
except PortwayError as exc:
    found = {"error": str(exc)}
print(json.dumps(found))
"""

LEAVE_UNMERGED = """
import os, sys
from pathlib import Path
from portway.server.storage.token_store import Store
from tests.server.storage.test_token_store import record
store = Store(Path(sys.argv[1]))
store.create_token(record(1))
store.create_token(record(2))
store._db.execute("PRAGMA wal_checkpoint")
store.revoke("token1", 5.0)
os._exit(0)  # as kill -9 would: nothing is merged
"""


def run(code: str, *words: str | Path, before: tuple[str, ...] = (), env: dict[str, str] | None = None) -> str:
    """Run Python code in a new process and return its output."""
    done = subprocess.run(
        [*before, sys.executable, "-c", code, *map(str, words)],
        env={**os.environ, "PYTHONPATH": f"{SOURCES}:{SOURCES.parent}", **(env or {})},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def read_and_write(path: Path, before: tuple[str, ...] = (), **env: str) -> dict[str, Any]:
    """Open the store in a new process, read it, and try to write."""
    found: dict[str, Any] = json.loads(run(READ_AND_WRITE, path, before=before, env=env))
    return found


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Two tokens; the revocation of the first one is only in the -wal file."""
    path = tmp_path / "data" / "server.db"
    run(LEAVE_UNMERGED, path)
    assert Path(f"{path}-wal").stat().st_size > 0
    return path


@pytest.fixture
def merged(path: Path) -> Path:
    """The same, properly closed."""
    db = sqlite3.connect(path)
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()
    assert [file.name for file in path.parent.iterdir()] == ["server.db"]
    return path


@pytest.fixture
def unprivileged() -> Iterator[tuple[str, ...]]:
    """The prefix of a command that runs as an unprivileged user."""
    if os.geteuid() != 0:
        yield ()
    elif shutil.which("setpriv") is None:
        pytest.skip("needs setpriv")
    else:
        yield ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")


def test_a_database_on_a_read_only_disk_is_read_and_writing_is_explained(merged: Path) -> None:
    found = read_and_write(merged, read_only(merged.parent))

    assert found["revoked"] == [5.0, None]
    assert "is read-only" in found["fixed"]
    assert "cannot be written" in found["write"]
    assert [file.name for file in merged.parent.iterdir()] == ["server.db"]


def test_an_unmerged_revocation_counts_on_a_read_only_disk(path: Path) -> None:
    before = {file.name: file.read_bytes() for file in path.parent.iterdir()}
    found = read_and_write(path, read_only(path.parent))

    assert found["revoked"] == [5.0, None]
    assert found["fixed"]
    assert {file.name: file.read_bytes() for file in path.parent.iterdir()} == before


@pytest.mark.parametrize("state", ["path", "merged"])
def test_a_database_on_a_full_disk_is_read(state: str, request: pytest.FixtureRequest) -> None:
    path: Path = request.getfixturevalue(state)
    found = read_and_write(path, full_disk(path.parent))

    assert found["revoked"] == [5.0, None]
    assert state == "path" or "full" in found["write"]  # the unmerged file has free pages


@pytest.mark.parametrize("state", ["path", "merged"])
def test_a_database_in_a_folder_that_a_user_may_not_write_is_read(
    state: str, request: pytest.FixtureRequest, unprivileged: tuple[str, ...]
) -> None:
    path: Path = request.getfixturevalue(state)
    if os.geteuid() == 0:
        for one in (path.parent, *path.parent.iterdir()):
            os.chown(one, 65534, 65534)
        for parent in list(path.parents)[1:]:
            if parent.stat().st_uid == 0 and not parent.stat().st_mode & 0o001:
                parent.chmod(0o711)
    path.parent.chmod(0o500)
    try:
        found = read_and_write(path, unprivileged)
    finally:
        path.parent.chmod(0o700)

    assert found["revoked"] == [5.0, None]
    assert found["fixed"]


def test_changes_that_cannot_be_merged_anywhere_are_an_error(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "_may_write", lambda _: False)
    monkeypatch.setattr(database, "_temporary_directories", lambda: ["/proc", "/nowhere"])

    with pytest.raises(ConfigError, match=r"changes in server.db-wal: /proc: .*/nowhere: No such file.*TMPDIR"):
        open_database(path, lambda _: None, None)


def test_copies_are_removed_and_private(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = tmp_path / "temporary"
    directory.mkdir()
    monkeypatch.setattr(database, "_may_write", lambda _: False)
    monkeypatch.setattr(database, "_temporary_directories", lambda: [str(directory)])
    seen: list[int] = []
    in_memory = database._in_memory

    def observed(source: sqlite3.Connection) -> sqlite3.Connection:
        seen.extend(file.stat().st_mode for file in directory.iterdir())
        return in_memory(source)

    monkeypatch.setattr(database, "_in_memory", observed)
    opened = open_database(path, lambda _: None, None)
    opened.db.close()

    assert [mode & 0o077 for mode in seen] == [0]
    assert list(directory.iterdir()) == []


def test_a_database_too_large_to_be_copied_is_an_error(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "_may_write", lambda _: False)
    monkeypatch.setattr(database, "COPY_BYTES_MAX", 1000)

    with pytest.raises(ConfigError, match="larger than 1000 bytes"):
        open_database(path, lambda _: None, None)


def test_stamps_change_with_every_write(merged: Path) -> None:
    first = stamps_of(merged)
    assert stamps_of(merged) == first
    db = sqlite3.connect(merged, isolation_level=None)
    db.execute("UPDATE tokens SET revoked_at = 1.0")
    second = stamps_of(merged)
    db.execute("UPDATE tokens SET revoked_at = 2.0")
    third = stamps_of(merged)
    db.close()

    assert len({first, second, third, stamps_of(merged)}) == 4


FREED = """
import sys
from pathlib import Path
from portway.server.storage.token_store import Store
path = Path(sys.argv[1])
with Store(path) as server:
    assert server.fixed
    before = server.version()
    assert server.version() == before
    (path.parent / "filler").unlink()
    with Store(path) as command:
        command.revoke("token2", 9.0)
    after = server.version()
    assert after != before
    assert server.find("id2").revoked_at == 9.0
    assert not server.fixed
    assert server.version() == after
    with Store(path) as command:
        command.revoke  # only opened: no change
        assert server.version() == after
"""


def test_a_revocation_is_detected_once_there_is_space_again(merged: Path) -> None:
    run(FREED, merged, before=full_disk(merged.parent))
