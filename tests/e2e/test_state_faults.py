"""What goes wrong with a server's data directory, and what must go on all the same."""

import re
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from portway.server.storage.token_store import FILE
from tests.e2e.world import World, event
from tests.kit.http_origin import HttpOrigin
from tests.kit.locked_database import locked
from tests.kit.mounts import full_disk, read_only
from tests.kit.programs import Finished, Program

OK = b"hello from origin\n"


@pytest.fixture
def world() -> Iterator[World]:
    with World() as world:
        yield world


@pytest.fixture
def origin() -> Iterator[HttpOrigin]:
    with HttpOrigin() as origin:
        yield origin


@pytest.mark.parametrize("workers", [1, 2])
def test_visitors_are_served_while_another_process_keeps_the_database_locked(workers: int, world: World, origin: HttpOrigin) -> None:
    server = world.start_server("--workers", str(workers))
    join = world.token()
    agent = world.agent(join, "http", str(origin.port), "--name", "blog")
    event(agent, "tunnel_up")
    assert world.visit("blog").body == OK
    with locked(world.server_data / FILE):
        late = world.agent(join, "http", str(origin.port), "--name", "late")
        late.expect('"event":"connecting"')
        # SQLite waits for 10 s in such a case: a server that waits for it answers no visitor meanwhile.
        until, slowest = time.monotonic() + 2.0, 0.0
        while time.monotonic() < until:
            answer = world.visit("blog")
            assert (answer.status, answer.body) == (200, OK)
            slowest = max(slowest, answer.seconds)
            time.sleep(0.05)
        assert slowest < 1.5
        assert "tunnel_up" not in "\n".join(late.out.lines)
    event(late, "tunnel_up")
    assert world.visit("late").body == OK
    assert world.run("token", "revoke", "laptop", "--data", world.server_data).code == 0
    for one in (agent, late):
        assert one.wait().code == 3
    assert server.running


# A disk that cannot be written.


def beside(server: Program, world: World, *words: str) -> Finished:
    """Run a command that sees the disks as the server does."""
    return world.start(*words, "--data", world.server_data, before=("nsenter", "-m", "-t", str(server.pid)), tells_secrets=True).wait()


@pytest.mark.parametrize("disk", [read_only, full_disk])
@pytest.mark.parametrize("workers", [1, 2])
def test_a_server_with_a_read_only_disk_serves_and_reports_what_it_cannot_save(
    disk: object, workers: int, world: World, origin: HttpOrigin
) -> None:
    assert callable(disk)
    world.server_flags = ("--workers", str(workers))
    server = world.start_server()
    join, revoked = world.token(), world.token("phone")
    assert world.run("token", "revoke", "phone", "--data", world.server_data).code == 0
    server.kill()  # with one process nothing is merged: the revocation is in the -wal file alone
    assert workers > 1 or (world.server_data / f"{FILE}-wal").stat().st_size > 0

    world.server_before = disk(world.server_data)
    server = world.start_server()
    if disk is read_only:
        server.expect("tokens cannot be created or revoked", stream="err")
    agent = world.agent(join, "http", str(origin.port), "--name", "blog")
    event(agent, "tunnel_up")
    assert world.visit("blog").body == OK
    assert world.agent(revoked, "http", str(origin.port)).wait().code == 3
    listed = beside(server, world, "token", "list")
    assert (listed.code, "phone" in listed.out, "revoked" in listed.out) == (0, True, True)
    if disk is read_only:
        made = beside(server, world, "token", "create", "tablet")
        assert (made.code, made.out) == (1, "")
        assert "cannot be written" in made.err
        refused = beside(server, world, "token", "revoke", "laptop")
        assert refused.code == 1
        assert "cannot be written" in refused.err
    assert world.visit("blog").body == OK


def test_a_token_revoked_once_a_full_disk_has_space_again_ends_its_sessions(world: World, origin: HttpOrigin) -> None:
    world.start_server().stop()
    join = world.token()
    world.server_before = full_disk(world.server_data)
    server = world.start_server()
    agent = world.agent(join, "http", str(origin.port), "--name", "blog")
    event(agent, "tunnel_up")
    assert beside(server, world, "token", "revoke", "laptop").code == 1
    assert world.visit("blog").body == OK
    freed = world.server_data / "filler"
    assert subprocess.run(["nsenter", "-m", "-t", str(server.pid), "rm", freed], check=False).returncode == 0
    assert beside(server, world, "token", "revoke", "laptop").code == 0
    assert agent.wait().code == 3


# Two servers.


@pytest.mark.parametrize("workers", [1, 2])
def test_a_second_server_on_a_data_directory_is_refused_and_other_commands_work(workers: int, world: World) -> None:
    world.server_flags = ("--workers", str(workers))
    first = world.start_server()
    second = world.run("server", "--http", "127.0.0.1:0", "--agents", "127.0.0.1:0", "--https", "off", "--data", world.server_data)
    assert (second.code, second.out) == (2, "")
    assert second.err.startswith(f"portway: data: another server uses {world.server_data}; stop it, or")
    world.token()
    assert world.run("token", "list", "--data", world.server_data).code == 0
    first.kill()
    world.start_server()


# A database that is lost.


def emptied(database: Path, _: Path) -> None:
    database.write_bytes(b"")


def removed(database: Path, _: Path) -> None:
    database.unlink()


def exchanged(database: Path, other: Path) -> None:
    shutil.copy(other, other.with_suffix(".new"))
    other.with_suffix(".new").replace(database)


@pytest.mark.parametrize("damage", [emptied, removed, exchanged])
@pytest.mark.parametrize("workers", [1, 2])
def test_agents_survive_a_lost_database(damage: Callable[[Path, Path], None], workers: int, world: World, origin: HttpOrigin) -> None:
    world.server_flags = ("--workers", str(workers))
    server = world.start_server()
    join = world.token()
    agent = world.agent(join, "http", str(origin.port), "--name", "blog")
    event(agent, "tunnel_up")
    database, saved, other = world.server_data / FILE, world.home / "saved.db", world.home / "other"
    db = sqlite3.connect(database)
    db.execute("VACUUM INTO ?", (str(saved),))
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # else all of it is in the -wal file still, from where SQLite brings it back
    db.close()
    assert world.run("token", "create", "x", "--init", "--data", other, tells_secrets=True).code == 0

    damage(database, other / FILE)
    if damage is not emptied:  # an open database overwritten in place shows nothing until it is read
        server.expect("tokens unreadable.*removed or replaced", stream="err")
    assert world.visit("blog").body == OK
    server.stop()
    refused = world.run("server", "--http", "127.0.0.1:0", "--agents", "127.0.0.1:0", "--https", "off", "--data", world.server_data)
    assert refused.code == 2
    assert re.search("a server has used this directory|not the database of this directory", refused.err), refused.err
    assert "backup" in refused.err

    for suffix in ("-wal", "-shm"):
        Path(f"{database}{suffix}").unlink(missing_ok=True)
    shutil.copy(saved, database)
    database.chmod(0o600)
    world.start_server()
    event(agent, "tunnel_up", 2)
    assert world.visit("blog").body == OK
