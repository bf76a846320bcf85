"""`portway start`: many tunnels in one session, and a file that changes while visitors are served."""

import hashlib
import http.client
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.world import World, event, events
from tests.kit.http_origin import HttpOrigin
from tests.kit.programs import Program
from tests.kit.streams import stream_hash

TUNNELS = 12


@pytest.fixture
def world() -> Iterator[World]:
    with World() as world:
        world.start_server()
        yield world


class TunnelFile:
    """A configuration file with tunnels to one origin."""

    def __init__(self, world: World, port: int) -> None:
        self.path = world.home / "portway.toml"
        self.tunnels = {f"t{number}": f'target = "127.0.0.1:{port}"\n' for number in range(TUNNELS)}
        self.write()

    def write(self) -> None:
        self.path.write_text("".join(f"[tunnels.{label}]\n{body}" for label, body in self.tunnels.items()))


def start(world: World, file: Path, *words: str, as_json: bool = True) -> Program:
    return world.agent(world.token(), "start", "--config", str(file), *words, as_json=as_json)


def test_reloads_change_what_changed_while_a_download_of_another_tunnel_goes_on(world: World) -> None:
    with HttpOrigin() as origin:
        file = TunnelFile(world, origin.port)
        agent = start(world, file.path, "--all")
        event(agent, "tunnel_up", TUNNELS)
        assert [world.visit(label).status for label in file.tunnels] == [200] * TUNNELS
        line = http.client.HTTPConnection("127.0.0.1", world.http_port, timeout=20)
        line.request("GET", "/bytes?n=30000000", headers={"Host": f"t0.localhost:{world.http_port}"})
        download = line.getresponse()
        digest, size = hashlib.sha256(), 0
        digest.update(part := download.read(1_000_000))
        size += len(part)

        del file.tunnels["t1"]
        file.tunnels["t2"] += 'max_rate = "1mb"\n'
        file.tunnels["new"] = file.tunnels["t3"]
        file.write()

        changed = event(agent, "tunnels_changed")
        assert (changed["added"], changed["changed"], changed["removed"]) == (["new"], ["t2"], ["t1"])
        event(agent, "tunnel_up", TUNNELS + 2)
        assert world.visit("t1").status == 404
        assert [world.visit(label).status for label in file.tunnels] == [200] * TUNNELS
        while part := download.read(1_000_000):
            digest.update(part)
            size += len(part)
        line.close()
        assert (size, digest.hexdigest()) == (30_000_000, stream_hash(30_000_000))
        assert len(list(events(agent, "online"))) == 1, "one session all along"


def test_a_file_with_errors_changes_nothing_and_sighup_reads_it_at_once(world: World) -> None:
    with HttpOrigin() as origin:
        file = TunnelFile(world, origin.port)
        agent = start(world, file.path, "t0", "t1", as_json=False)
        agent.expect(r"t1  http://t1\.localhost")
        file.path.write_text('[tunnels.t0]\ntargit = "1"\n')
        agent.signal(signal.SIGHUP)
        agent.expect(f"{file.path}:2: tunnels.t0.targit: unknown setting; did you mean target", stream="err")
        agent.expect("the tunnels stay as they were", stream="err")
        assert world.visit("t0").status == 200

        file.tunnels = {"t0": file.tunnels["t0"], "t5": file.tunnels["t5"]}
        file.write()
        agent.signal(signal.SIGHUP)

        agent.expect(r"- removed +t1", stream="err")
        _until(lambda: world.visit("t1").status == 404)
        assert (world.visit("t0").status, world.visit("t5").status) == (200, 404), "t5 was not asked for"


def test_changes_while_the_server_is_away_are_claimed_when_it_is_back(world: World) -> None:
    with HttpOrigin() as origin:
        file = TunnelFile(world, origin.port)
        agent = start(world, file.path, "--all")
        event(agent, "tunnel_up", TUNNELS)
        server = world.programs[0]
        server.signal(signal.SIGTERM)
        server.wait()
        event(agent, "offline")
        file.tunnels = {"t0": file.tunnels["t0"], "late": file.tunnels["t1"]}
        file.write()
        event(agent, "tunnels_changed")

        world.start_server()

        event(agent, "tunnel_up", TUNNELS + 2, deadline_s=30)
        assert (world.visit("t0").status, world.visit("late").status) == (200, 200)
        assert {found["label"] for found in list(events(agent, "tunnel_up"))[TUNNELS:]} == {"t0", "late"}


def _until(condition: Callable[[], bool], deadline_s: float = 10.0) -> None:
    until = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.1)
