"""Tokens survive restarts, kills and concurrent processes: the old state or the new one, never a mixture."""

import dataclasses
import os
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from portway.config.values import PortRange
from portway.engine.policy import UNLIMITED, Policy
from portway.errors import ConfigError, UnavailableError
from portway.protocol.scram import ScramVerifier
from portway.server.access.tokens import Grants, TokenRecord
from portway.server.storage.token_store import MIGRATIONS, Store

VERIFIER = ScramVerifier(salt=b"s" * 16, iterations=4096, stored_key=b"k" * 32, server_key=b"v" * 32)


def record(number: int = 1, name: str = "", grants: Grants | None = None) -> TokenRecord:
    return TokenRecord(
        id=f"id{number}", name=name or f"token{number}", verifier=VERIFIER, grants=grants or Grants(), created_at=1000.0 + number
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "server.db"


def test_a_stored_token_is_read_back_unchanged(path: Path) -> None:
    grants = Grants(hosts=("a", "*.b.c"), ports=(PortRange(1, 2), PortRange(7, 7)), protocols=("tcp",), tunnels_max=3, expires_at=12.5)

    with Store(path) as store:
        store.create_token(record(1, grants=grants))
        store.create_token(record(2))
    with Store(path) as store:
        assert store.tokens() == [record(1, grants=grants), record(2)]
        assert store.find("id1") == record(1, grants=grants)
        assert store.find("nobody") is None


def test_the_database_files_are_private_whatever_the_umask(path: Path) -> None:
    old = os.umask(0)
    try:
        with Store(path) as store:
            store.create_token(record())
            modes = {found.name: stat.S_IMODE(found.stat().st_mode) for found in path.parent.iterdir()}
    finally:
        os.umask(old)

    assert modes == {"server.db": 0o600, "server.db-wal": 0o600, "server.db-shm": 0o600}
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_live_name_is_taken_until_it_is_revoked(path: Path) -> None:
    with Store(path) as store:
        store.create_token(record(1, "laptop"))
        with pytest.raises(ConfigError, match="token laptop already exists"):
            store.create_token(record(2, "laptop"))
        assert store.revoke("laptop", 5.0) == dataclasses.replace(record(1, "laptop"), revoked_at=5.0)
        store.create_token(record(2, "laptop"))

        assert [(token.id, token.revoked_at) for token in store.tokens()] == [("id1", 5.0), ("id2", None)]


def test_revoking_an_unknown_token_is_an_error(path: Path) -> None:
    with Store(path) as store:
        store.create_token(record(1))
        store.revoke("token1", 5.0)
        for name in ("token1", "nobody"):
            with pytest.raises(ConfigError, match=f"unknown token {name}"):
                store.revoke(name, 6.0)


def test_each_change_by_another_process_is_a_new_version(path: Path) -> None:
    with Store(path) as server, Store(path) as command:
        first = server.version()
        assert server.version() == first
        command.create_token(record())
        second = server.version()
        assert second != first
        assert server.version() == second
        command.revoke("token1", 5.0)
        assert server.version() not in (first, second)
        found = server.find("id1")
        assert found is not None
        assert found.revoked_at == 5.0


def test_a_writer_never_delays_a_reader(path: Path) -> None:
    with Store(path) as server:
        server.create_token(record())
        writer = sqlite3.connect(path, isolation_level=None)
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("DELETE FROM tokens")

        assert server.find("id1") == record()

        writer.execute("ROLLBACK")
        writer.close()


def test_a_writer_that_waits_too_long_gets_an_error(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("portway.server.storage.database.BUSY_S_MAX", 0.01)
    with Store(path) as store:
        writer = sqlite3.connect(path, isolation_level=None)
        writer.execute("BEGIN IMMEDIATE")

        with pytest.raises(UnavailableError, match="locked; try again"):
            store.create_token(record())

        writer.execute("ROLLBACK")
        writer.close()


@pytest.mark.parametrize("mode", [0o644, 0o660])
def test_a_database_that_others_can_access_is_rejected(mode: int, path: Path) -> None:
    Store(path).close()
    path.chmod(mode)

    with pytest.raises(ConfigError, match="chmod 600"):
        Store(path)


def test_a_link_in_place_of_the_database_is_rejected(path: Path, tmp_path: Path) -> None:
    Store(tmp_path / "other" / "server.db").close()
    path.parent.mkdir(mode=0o700)
    path.symlink_to(tmp_path / "other" / "server.db")

    with pytest.raises(ConfigError, match="symbolic link"):
        Store(path)


def test_a_file_that_is_not_a_database_is_rejected_and_left_alone(path: Path) -> None:
    path.parent.mkdir(mode=0o700)
    path.touch(mode=0o600)
    path.write_bytes(b"precious" * 1000)

    with pytest.raises(ConfigError, match="not a Portway database"):
        Store(path)
    assert path.read_bytes() == b"precious" * 1000


def test_a_database_of_a_newer_portway_is_rejected(path: Path) -> None:
    Store(path).close()
    newer = sqlite3.connect(path)
    newer.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    newer.close()

    with pytest.raises(ConfigError, match="created by a newer Portway"):
        Store(path)


def test_a_token_with_an_unknown_grant_cannot_be_used(path: Path) -> None:
    with Store(path) as store:
        store.create_token(record())
    newer = sqlite3.connect(path, isolation_level=None)
    newer.execute("""UPDATE tokens SET grants = replace(grants, '{', '{"cidrs":["10.0.0.0/8"],')""")
    newer.close()

    with Store(path) as store, pytest.raises(ConfigError, match="unknown field `cidrs`"):
        store.find("id1")


def test_concurrent_starts_create_one_database(path: Path) -> None:
    code = "import sys; from pathlib import Path; from portway.server.storage.token_store import Store; Store(Path(sys.argv[1])).close()"
    both = [subprocess.Popen([sys.executable, "-c", code, str(path)], stderr=subprocess.PIPE) for _ in range(4)]
    errors = [one.communicate(timeout=30)[1] for one in both]

    assert [one.returncode for one in both] == [0] * 4, errors
    with Store(path) as store:
        assert store.tokens() == []


WRITER = """
import sys
from pathlib import Path
from portway.protocol.scram import ScramVerifier
from portway.server.access.tokens import TokenRecord
from portway.server.storage.token_store import Store
verifier = ScramVerifier(salt=b"s" * 16, iterations=4096, stored_key=b"k" * 32, server_key=b"v" * 32)
store = Store(Path(sys.argv[1]))
number = int(sys.argv[2])
while True:
    store.create_token(TokenRecord(id=f"id{number}", name=f"token{number}", verifier=verifier, created_at=float(number)))
    print(number, flush=True)
    store.revoke(f"token{number}", 1.0)
    number += 1
"""


@pytest.mark.parametrize("lines", [1, 7, 40])
def test_a_writer_killed_at_any_time_leaves_all_completed_writes_and_no_partial_one(lines: int, path: Path) -> None:
    for start in (0, 100_000):
        with subprocess.Popen([sys.executable, "-c", WRITER, str(path), str(start)], stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            reported = [int(writer.stdout.readline()) for _ in range(lines)]
            writer.kill()
            reported += [int(line) for line in writer.stdout if line.endswith("\n")]
        with Store(path) as store:
            found = {token.id: token for token in store.tokens()}
            check = sqlite3.connect(path)
            assert check.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            check.close()

        assert {f"id{number}" for number in reported} <= set(found)
        assert all(token.verifier == VERIFIER for token in found.values())
        # Each of them but the last was revoked before the next was reported.
        assert all(found[f"id{number}"].revoked_at == 1.0 for number in reported[:-1])


def test_limits_are_read_back_unchanged_and_unset_ones_are_not_stored(path: Path) -> None:
    policies = [
        Policy(idle_timeout_s=2.5, min_rate_bpm=3, max_rate_bps=4, bandwidth_bps=5, max_lifetime_s=6, max_total_payload=7),
        Policy(bandwidth_bps=1_000_000),
    ]
    with Store(path) as store:
        for number, policy in enumerate(policies):
            store.create_token(record(number, grants=Grants(policy=policy)))
    with Store(path) as store:
        assert [token.grants.policy for token in store.tokens()] == policies
    raw = sqlite3.connect(path)
    (text,) = raw.execute("SELECT grants FROM tokens WHERE id = 'id1'").fetchone()
    raw.close()
    assert '"limits":{"bandwidth_bps":1000000}' in text


def test_tokens_without_limits_have_the_same_format_as_before_limits_existed(path: Path) -> None:
    before = '{"hosts":["*"],"ports":[],"protocols":["http","tcp"],"tunnels_max":64,"expires_at":null}'
    with Store(path) as store:
        store.create_token(record(1))
    raw = sqlite3.connect(path, isolation_level=None)
    assert raw.execute("SELECT grants FROM tokens").fetchone() == (before,), "an older Portway can read it"
    raw.close()
    with Store(path) as store:
        (token,) = store.tokens()
        assert token.grants.policy == UNLIMITED
