"""An agent with an inspector as a program: killed while it captures, on a full disk, with a locked store; and what it prints."""

import http.client
import json
import os
import resource
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from typing import Any
from urllib.parse import urlsplit

import pytest

from portway.protocol.join_string import JoinString
from tests.e2e.world import World, event
from tests.kit.http_origin import HttpOrigin
from tests.kit.locked_database import locked
from tests.kit.mounts import full_disk
from tests.kit.programs import Program

CANARY = "CANARY7f3a91d2"
INSPECT = ("--inspect", "127.0.0.1:0")


class InspectedWorld(World):
    """A world whose agents log in with the same token."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.joins: dict[str, JoinString] = {}


@pytest.fixture
def world() -> Iterator[InspectedWorld]:
    with InspectedWorld() as world:
        world.start_server()
        yield world


@pytest.fixture
def origin() -> Iterator[HttpOrigin]:
    with HttpOrigin() as origin:
        yield origin


def start(world: InspectedWorld, origin: HttpOrigin, *flags: str, before: tuple[str, ...] = ()) -> Program:
    join = world.joins.get("laptop") or world.joins.setdefault("laptop", world.token())
    agent = world.agent(join, "http", str(origin.port), "--name", "app", *INSPECT, *flags, before=before)
    event(agent, "tunnel_up")
    return agent


def api(world: InspectedWorld, path: str, agent: Program) -> Any:
    """Return a document of the API, with the key of the command line's file."""
    file = world.home / "run" / "portway" / f"inspector-{agent.process.pid}.json"
    found = json.loads(file.read_text())
    with closing(http.client.HTTPConnection(urlsplit(found["url"]).netloc, timeout=20)) as connection:
        connection.request("GET", path, headers={"Authorization": f"Bearer {found['key']}"})
        return json.loads(connection.getresponse().read())


def wait_for(world: InspectedWorld, agent: Program, path: str, condition: Any) -> Any:
    until = time.monotonic() + 20
    while not condition(found := api(world, path, agent)):
        assert time.monotonic() < until, found
        time.sleep(0.05)
    return found


def test_captures_survive_a_kill_in_the_middle_of_traffic(world: InspectedWorld, origin: HttpOrigin) -> None:
    agent = start(world, origin)
    stop = threading.Event()
    answered = []

    def visit() -> None:
        while not stop.is_set():
            with suppress(OSError, http.client.HTTPException):  # those that the kill meets
                answered.append(world.visit("app", "/hello?n=1", deadline_s=20).status)

    visitor = threading.Thread(target=visit)
    visitor.start()
    wait_for(world, agent, "/api/requests", lambda found: len(found["requests"]) >= 20)
    os.kill(agent.process.pid, signal.SIGKILL)
    agent.process.wait(20)
    stop.set()
    visitor.join()
    before = len(answered)

    with closing(sqlite3.connect(world.home / "agent" / "captures.db")) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        (stored,) = db.execute("SELECT count(*) FROM exchanges").fetchone()
    assert 20 <= stored <= before + 1
    again = start(world, origin)
    found = wait_for(world, again, "/api/requests?limit=1000", lambda found: found["requests"])
    assert len(found["requests"]) == stored
    assert world.visit("app").status == 200
    wait_for(world, again, "/api/requests?limit=1000", lambda found: len(found["requests"]) == stored + 1)


def test_visitors_are_served_while_the_disk_is_full_and_the_api_says_so(world: InspectedWorld, origin: HttpOrigin) -> None:
    agent = start(world, origin)
    assert world.visit("app", "/bytes?n=100000").status == 200
    wait_for(world, agent, "/api/requests", lambda found: len(found["requests"]) == 1)
    resource.prlimit(agent.process.pid, resource.RLIMIT_FSIZE, (300_000, resource.RLIM_INFINITY))
    for _ in range(30):
        assert len(world.visit("app", "/bytes?n=100000").body) == 100_000

    status = wait_for(world, agent, "/api/status", lambda found: found["capture"]["error"])
    assert status["capture"]["dropped"] > 0
    assert len(api(world, "/api/requests", agent)["requests"]) >= 1
    resource.prlimit(agent.process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert world.visit("app", "/recovered").status == 200
    wait_for(world, agent, "/api/requests?q=recovered", lambda found: found["requests"])
    assert api(world, "/api/status", agent)["capture"]["error"] == ""


def test_an_agent_starts_on_a_full_disk_with_captures_in_memory(world: InspectedWorld, origin: HttpOrigin) -> None:
    first = start(world, origin, "--no-redact")
    first.process.send_signal(signal.SIGTERM)
    assert first.wait().code == 0
    for path in (world.home / "agent").glob("captures.db*"):
        path.unlink()
    agent = start(world, origin, before=full_disk(world.home / "agent"))
    assert world.visit("app").status == 200

    wait_for(world, agent, "/api/requests", lambda found: len(found["requests"]) == 1)
    assert api(world, "/api/status", agent)["capture"]["in_memory"]
    assert "captured requests are not saved" in event(agent, "notice")["text"]


def test_visitors_are_served_while_the_store_is_locked(world: InspectedWorld, origin: HttpOrigin) -> None:
    agent = start(world, origin)
    world.visit("app")
    wait_for(world, agent, "/api/requests", lambda found: found["requests"])
    with locked(world.home / "agent" / "captures.db"):
        slowest = max(world.visit("app").seconds for _ in range(30))
    wait_for(world, agent, "/api/requests", lambda found: len(found["requests"]) == 31)

    assert slowest < 2


def test_json_lines_have_the_address_but_no_key_and_no_secret_is_printed(world: InspectedWorld, origin: HttpOrigin) -> None:
    agent = start(world, origin)
    up = event(agent, "inspector_up")
    world.visit("app", f"/x?token={CANARY}")
    wait_for(world, agent, "/api/requests", lambda found: found["requests"])
    key = json.loads((world.home / "run" / "portway" / f"inspector-{agent.process.pid}.json").read_text())["key"]
    world.secrets["the key of the inspector"] = key
    world.secrets["a token in a query"] = CANARY
    (world.home / "run" / "portway" / f"inspector-{agent.process.pid}.json").unlink()

    assert (up["url"].startswith("http://127.0.0.1:"), up["page_url"]) == (True, "")


def test_on_a_terminal_it_is_on_and_the_address_has_the_key(world: InspectedWorld, origin: HttpOrigin) -> None:
    join = world.token()
    master, slave = os.openpty()
    environment = world.environment | {"PORTWAY_JOIN": f"{join}", "PYTHONDONTWRITEBYTECODE": "1"}
    argv = [sys.executable, "-m", "portway", "http", str(origin.port), "--data", str(world.home / "agent")]
    program = subprocess.Popen(argv, stdin=slave, stdout=slave, stderr=slave, env=environment)
    os.close(slave)
    output = b""
    try:
        until = time.monotonic() + 20
        while b"key=" not in output and time.monotonic() < until:
            try:
                output += os.read(master, 4096)
            except OSError:  # it has ended
                break
    finally:
        program.terminate()
        program.wait(20)
        os.close(master)

    assert b"inspector at http://127.0.0.1:" in output, output
    assert b"/?key=" in output
