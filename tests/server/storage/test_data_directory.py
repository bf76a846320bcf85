"""A data directory has one server, and files that belong together; a lost file is an error and not created again."""

import json
import logging
import re
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from portway.errors import ConfigError
from portway.server import identity as identities
from portway.server.identity import ensure_identity
from portway.server.settings import ServerSettings
from portway.server.storage.data_directory import STATE_FILE, Purpose, locked, open_state, open_store
from portway.server.storage.token_store import FILE, MIGRATIONS
from tests.kit.mounts import full_disk, read_only
from tests.server.storage.test_database import run
from tests.server.storage.test_token_store import record


def settings(data: Path) -> ServerSettings:
    return ServerSettings(data=data)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """The directory of a server that has run, with one token."""
    data = tmp_path / "data"
    with open_state(settings(data)).store as store:
        store.create_token(record(1))
    return data


def refusal(data: Path, *, init: bool = False) -> str:
    """Return why a server does not start there; the try must not change anything."""
    before = {path.name: path.read_bytes() for path in data.iterdir()}
    with pytest.raises(ConfigError) as refused:
        open_state(settings(data), init=init)
    assert {path.name: path.read_bytes() for path in data.iterdir()} == before
    return str(refused.value)


def remove_database(data: Path) -> None:
    (data / FILE).unlink()


def empty_database(data: Path) -> None:
    (data / FILE).write_bytes(b"")


def clear_database(data: Path) -> None:
    (data / FILE).unlink()
    db = sqlite3.connect(data / FILE)
    db.execute("VACUUM")
    db.close()
    (data / FILE).chmod(0o600)


def test_a_first_start_creates_all_files_and_the_next_one_uses_them(tmp_path: Path) -> None:
    first = open_state(settings(tmp_path / "data"))
    first.store.close()
    second = open_state(settings(tmp_path / "data"))
    second.store.close()
    assert second.store.database_id == first.store.database_id
    assert second.identity == first.identity
    saved = json.loads((tmp_path / "data" / STATE_FILE).read_text())

    assert first.identity.pin is not None
    assert saved == {"database": first.store.database_id, "identity": first.identity.pin.hex()}
    assert len(first.store.database_id) == 32


@pytest.mark.parametrize("left", [[], [FILE], [FILE, identities.FILE]])
def test_a_first_start_that_was_killed_is_completed_by_the_next(left: list[str], data: Path) -> None:
    for path in list(data.iterdir()):
        if path.name not in left:
            path.unlink()

    with open_state(settings(data)).store as store:
        assert [token.id for token in store.tokens()] == (["id1"] if FILE in left else [])
    assert (data / STATE_FILE).exists()


@pytest.mark.parametrize("lose", [remove_database, empty_database, clear_database])
@pytest.mark.parametrize("upgraded", [True, False])
def test_a_lost_database_is_an_error_and_created_again_only_with_init(lose: object, upgraded: bool, data: Path) -> None:
    assert callable(lose)
    lose(data)
    if not upgraded:
        (data / STATE_FILE).unlink()  # a directory from before this file existed: only the identity shows that a server has used it

    error = refusal(data)
    assert "although a server has used this directory" in error
    assert "Restore it from a backup" in error
    assert "--init" in error
    with open_state(settings(data), init=True).store as store:
        assert store.tokens() == []
        store.create_token(record(2))
    with open_state(settings(data)).store as store:
        assert [token.id for token in store.tokens()] == ["id2"]


def test_a_database_of_another_server_is_an_error_until_the_operator_accepts_it(data: Path, tmp_path: Path) -> None:
    with open_state(settings(tmp_path / "other")).store as store:
        store.create_token(record(7))
    shutil.copy(tmp_path / "other" / FILE, data / FILE)

    for init in (False, True):
        assert f"not the database of this directory; restore the right one from a backup. To use this one, remove {data}" in (
            refusal(data, init=init)
        )
    for purpose in ("read", "write"):
        with pytest.raises(ConfigError, match="not the database of this directory"):
            open_store(data, purpose)
    (data / STATE_FILE).unlink()
    with open_state(settings(data)).store as store:
        assert [token.id for token in store.tokens()] == ["id7"]


def test_a_database_from_before_ids_existed_gets_one_and_keeps_its_tokens(data: Path) -> None:
    make_old(data)
    (data / STATE_FILE).unlink()
    with open_store(data, "read") as store:
        assert (store.database_id, [token.id for token in store.tokens()]) == ("", ["id1"])
    assert not (data / STATE_FILE).exists()

    with open_state(settings(data)).store as store:
        assert [token.id for token in store.tokens()] == ["id1"]
        assert len(store.database_id) == 32
    with open_state(settings(data)).store as again:
        assert again.database_id == store.database_id


def test_an_old_backup_in_a_newer_directory_is_an_error(data: Path) -> None:
    make_old(data)

    assert "older than the database of this directory" in refusal(data)


def make_old(data: Path) -> None:
    """Make the database as it was before ids existed."""
    db = sqlite3.connect(data / FILE)
    db.executescript("DROP TABLE database; PRAGMA user_version = 1;")
    db.close()
    assert len(MIGRATIONS) >= 2


def test_a_lost_or_exchanged_identity_is_an_error_as_agents_would_reject_it(data: Path, tmp_path: Path) -> None:
    other = ensure_identity(tmp_path / "other")
    shutil.copy(other.key_file, data / identities.FILE)
    assert "not the identity of this directory" in refusal(data)
    (data / identities.FILE).unlink()
    assert "without it agents reject this server" in refusal(data)

    with open_state(settings(data), init=True).store as store:
        assert [token.id for token in store.tokens()] == ["id1"]
    open_state(settings(data)).store.close()


def test_a_certificate_of_a_ca_needs_no_identity_and_keeps_the_saved_one(data: Path, tmp_path: Path) -> None:
    other = ensure_identity(tmp_path / "other")
    by_ca = ServerSettings(data=data, agents_certificate=other.cert_file, agents_key=other.key_file)
    before = (data / STATE_FILE).read_bytes()
    open_state(by_ca).store.close()
    assert (data / STATE_FILE).read_bytes() == before
    (data / identities.FILE).unlink()
    open_state(by_ca).store.close()


def test_a_damaged_database_is_an_error_at_the_start_and_not_at_a_login(data: Path) -> None:
    with open_store(data, "write") as store:
        for number in range(2, 200):
            store.create_token(record(number))
    content = bytearray((data / FILE).read_bytes())
    content[5 * 4096 : 7 * 4096] = bytes(2 * 4096)
    (data / FILE).write_bytes(content)

    assert re.search(r"server\.db: (damaged|not a Portway database)", refusal(data))


def test_the_database_of_another_program_is_left_alone(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    db = sqlite3.connect(data / FILE)
    db.execute("CREATE TABLE recipes (name TEXT)")
    db.close()
    (data / FILE).chmod(0o600)

    with pytest.raises(ConfigError, match="database of another program"):
        open_state(settings(data))


@pytest.mark.parametrize("purpose", ["read", "write"])
def test_the_error_for_an_unused_directory_has_the_next_steps_and_nothing_is_created(purpose: Purpose, tmp_path: Path) -> None:
    for data in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(ConfigError, match=r"no server has used .* yet.*sudo -u USER.*--data DIR.*--init"):
            open_store(data, purpose)
    assert list(tmp_path.iterdir()) == []


def test_a_database_that_is_replaced_or_removed_while_in_use_is_an_error(data: Path, tmp_path: Path) -> None:
    with open_store(data, "read") as store:
        store.version()
        shutil.copy(data / FILE, tmp_path / "copy")
        (tmp_path / "copy").replace(data / FILE)
        with pytest.raises(ConfigError, match="removed or replaced while in use"):
            store.version()
        (data / FILE).unlink()
        with pytest.raises(ConfigError, match="removed or replaced while in use"):
            store.version()
        assert store.find("id1") is not None, "the open database can still be read"


def test_a_missing_token_in_a_replaced_database_is_an_error(data: Path) -> None:
    with open_store(data, "read") as store:
        db = sqlite3.connect(data / FILE)
        db.executescript("DELETE FROM tokens; UPDATE database SET id = 'other'")
        db.close()
        with pytest.raises(ConfigError, match="replaced by another database"):
            store.find("id1")


# One server at a time.

HOLD = """
import sys
from pathlib import Path
from portway.server.storage.data_directory import locked
with locked(Path(sys.argv[1])):
    print("locked", flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize("fixed", [False, True])
def test_a_second_server_is_refused_until_the_first_exits_also_on_a_read_only_disk(fixed: bool, data: Path) -> None:
    command = read_only(data) if fixed else ()
    with subprocess.Popen(
        [*command, sys.executable, "-c", HOLD, str(data)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "locked\n"
        with pytest.raises(ConfigError, match=f"another server uses {data}"), locked(data):
            pass
        open_store(data, "write").close()
        first.kill()
    with locked(data):
        pass


# Where nothing can be written.

START = """
import sys
from pathlib import Path
from portway.server.storage.data_directory import locked, open_state
from portway.server.settings import ServerSettings
data = Path(sys.argv[1])
with locked(data):
    state = open_state(ServerSettings(data=data))
    print(state.store.fixed and "copy", [token.id for token in state.store.tokens()], state.identity.pin.hex()[:4])
"""


@pytest.mark.parametrize("disk", [read_only, full_disk])
@pytest.mark.parametrize("old", [False, True])
def test_a_server_with_nothing_to_write_starts_on_a_disk_that_cannot_be_written(disk: object, old: bool, data: Path) -> None:
    assert callable(disk)
    pin = ensure_identity(data).pin
    assert pin is not None
    if old:
        make_old(data)
        (data / STATE_FILE).unlink()

    assert run(START, data, before=disk(data)) == f"copy ['id1'] {pin.hex()[:4]}\n"


def test_a_failure_to_save_the_directory_state_is_logged(
    data: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    (data / STATE_FILE).unlink()
    (data / STATE_FILE).mkdir()  # in the way of the file
    monkeypatch.setattr("portway.server.storage.data_directory._read_state", lambda _: None)
    with caplog.at_level(logging.WARNING, "portway"):
        open_state(settings(data)).store.close()

    assert "directory state not saved" in caplog.text
