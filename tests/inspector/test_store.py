"""The store: bounded, private, and intact after a kill or on a full disk."""

import os
import signal
import sqlite3
import stat
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from portway.errors import UnavailableError
from portway.inspector.query import parse_query
from portway.inspector.store import FILE, Store
from tests.kit.programs import SOURCES

ROW = {
    "tunnel": "t",
    "url": "http://a",
    "origin": "o",
    "kind": "http",
    "state": "done",
    "started_at": 1.0,
    "request_head": b"GET / HTTP/1.1\r\n\r\n",
}


def add(store: Store, count: int, body_bytes: int = 1000, **columns: object) -> list[int]:
    """Store exchanges, one per transaction, as a slow day would."""
    ids = []
    for _ in range(count):
        with store.transaction() as batch:
            ids.append(batch.insert(ROW | columns))
            batch.add_body(ids[-1], 1, body_bytes, "complete", "", os.urandom(body_bytes))
        store.trim()
    return ids


def test_the_files_are_private(tmp_path: Path) -> None:
    umask = os.umask(0)
    try:
        store = Store(tmp_path / FILE, 10_000_000)
        add(store, 1)
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
        store.close()
    finally:
        os.umask(umask)

    assert set(modes) == {"captures.db", "captures.db-wal", "captures.db-shm"}
    assert set(modes.values()) == {0o600}


def test_the_oldest_exchanges_are_removed_at_the_limit(tmp_path: Path) -> None:
    store = Store(tmp_path / FILE, 2_000_000)
    ids = add(store, 400, 20_000)
    kept = [row["id"] for row in store.page(limit=1000)]

    assert 20 < len(kept) < 150
    assert kept == sorted(kept, reverse=True)
    assert kept[0] == ids[-1]
    assert store.usage().bytes <= 2_100_000
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 14_000_000, "with the log"
    store.close()


def test_bodies_and_messages_go_with_their_exchange(tmp_path: Path) -> None:
    store = Store(tmp_path / FILE, 10_000_000)
    (number,) = add(store, 1)
    with store.transaction() as batch:
        batch.add_message(number, 0, 1.0, "text", "", 5, "complete", b"hello")
        batch.count_messages(number, 1, 0)
    assert (len(store.messages(number)), len(store.bodies(number))) == (1, 1)

    store.clear()

    assert (store.messages(number), store.bodies(number), store.find(number)) == ([], {}, None)
    change, cleared = store.last_change()
    assert change == cleared
    with store.transaction() as batch:
        batch.add_message(number, 0, 1.0, "text", "", 5, "complete", b"late")
    assert store.messages(number) == []
    store.close()


def test_changes_come_in_their_order_and_ids_are_never_used_twice(tmp_path: Path) -> None:
    store = Store(tmp_path / FILE, 10_000_000)
    first, second = add(store, 2)
    with store.transaction() as batch:
        assert batch.update(first, {"status": 200})
        assert not batch.update(999, {"status": 200})
    changes = store.changes(0)

    assert [row["id"] for row in changes] == [second, first]
    assert store.changes(changes[-1]["change"]) == []
    store.clear()
    assert add(store, 1) > [second]
    store.close()


def test_two_agents_share_a_store(tmp_path: Path) -> None:
    one, two = Store(tmp_path / FILE, 10_000_000), Store(tmp_path / FILE, 10_000_000)
    ids = [add(store, 1)[0] for store in (one, two, one, two)]

    assert [row["id"] for row in one.changes(0)] == ids == [row["id"] for row in two.changes(0)]
    one.close()
    two.close()


KILLED = """
import os, sys
from pathlib import Path
from portway.inspector.store import Store
from tests.inspector.test_store import ROW
store = Store(Path(sys.argv[1]), 10_000_000)
with store.transaction() as batch:
    batch.insert(ROW | {"state": "open"})
print("stored", flush=True)
while True:
    with store.transaction() as batch:
        batch.insert(ROW)
"""


def test_a_kill_loses_at_most_the_last_batch_and_open_exchanges_end(tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": f"{SOURCES}:{SOURCES.parent}"}
    with subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path / FILE)], stdout=subprocess.PIPE, env=environment) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == b"stored\n"
        program.send_signal(signal.SIGKILL)

    store = Store(tmp_path / FILE, 10_000_000)
    first = store.find(1)

    assert first is not None
    assert (first["state"], first["error"]) == ("broken", "the agent ended")
    assert sqlite3.connect(tmp_path / FILE).execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert add(store, 1)
    store.close()


FULL = """
import os, resource, signal, sys
from pathlib import Path
from portway.errors import UnavailableError
from portway.inspector.store import Store
from tests.inspector.test_store import ROW, add
import sqlite3
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
store = Store(Path(sys.argv[1]), 100_000_000)
add(store, 3)
limit = sum(path.stat().st_size for path in Path(sys.argv[1]).parent.iterdir()) + 50_000
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
failed = 0
for _ in range(20):
    try:
        add(store, 1, 100_000)
    except sqlite3.Error:
        failed += 1
print(failed > 10, bool(store.error), len(store.page()) >= 3, bool(store.usage().error))
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
add(store, 1, 100_000)
print(repr(store.error))
"""


def test_a_full_disk_is_reported_reads_go_on_and_it_recovers(tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": f"{SOURCES}:{SOURCES.parent}"}
    program = [sys.executable, "-c", textwrap.dedent(FULL), str(tmp_path / FILE)]
    done = subprocess.run(program, capture_output=True, text=True, env=environment, timeout=60, check=False)

    assert done.stdout.splitlines() == ["True True True True", "''"], done.stderr


def test_a_directory_that_cannot_be_used_means_a_store_in_memory(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text("not a database, but private")
    (tmp_path / FILE).chmod(0o600)
    store = Store(tmp_path / FILE, 10_000_000)
    add(store, 1)

    assert "not a database" in store.usage().in_memory
    assert len(store.page()) == 1
    assert (tmp_path / FILE).read_text() == "not a database, but private"
    store.close()


def test_a_store_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    store = Store(tmp_path / FILE, 10_000_000)
    store.close()
    with sqlite3.connect(tmp_path / FILE) as db:
        db.execute("PRAGMA user_version = 99")

    assert "newer version" in Store(tmp_path / FILE, 10_000_000).usage().in_memory


def test_a_search_that_takes_too_long_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("portway.inspector.store_reader.STEPS_MAX", 3)
    store = Store(tmp_path / FILE, 10_000_000)
    with store.transaction() as batch:
        for _ in range(500):
            batch.insert(ROW)

    with pytest.raises(UnavailableError, match="takes too long"):
        store.page(parse_query("nothing"))
    store.close()
