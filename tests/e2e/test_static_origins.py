"""Folders and fixed responses behind a tunnel, as programs."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.world import World, event


@pytest.fixture
def world() -> Iterator[World]:
    with World() as world:
        world.start_server()
        yield world


def test_a_folder_and_a_fixed_response_are_published_without_a_service(world: World, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "big.bin").write_bytes(bytes(range(256)) * 40_000)
    join = world.token()
    folder = world.agent(join, "http", str(tmp_path), "--name", "files", "--listing")
    fixed = world.agent(join, "http", "--status", "503", "--body", "Back at noon.", "--name", "away", data="other")
    assert event(folder, "tunnel_up")["target"] == str(tmp_path)
    assert event(fixed, "tunnel_up")["target"] == "status 503"

    assert b'href="./sub/"' in world.visit("files", "/").body
    assert world.visit("files", "/sub/big.bin").body == bytes(range(256)) * 40_000
    assert world.visit("files", "/../etc/passwd").status == 404
    away = world.visit("away", "/any", method="POST", body=b"x" * 200_000)
    assert (away.status, away.error, away.body) == (503, "", b"Back at noon.")
    folder.signal(signal.SIGINT)
    fixed.signal(signal.SIGINT)
    for agent in (folder, fixed):
        assert agent.wait().code == 0
    assert list((world.home / "run" / "portway").glob("static-*")) == []


def test_a_file_of_tunnels_names_folders_relative_to_itself(world: World) -> None:
    (world.home / "public").mkdir()
    (world.home / "public" / "index.html").write_text("<p>index")
    file = world.home / "portway.toml"
    file.write_text('[tunnels.site]\ntarget = "./public"\n[tunnels.off]\nstatus = 410\n')
    agent = world.agent(world.token(), "start", "--config", str(file), "--all")
    event(agent, "tunnel_up", 2)
    assert (world.visit("site", "/").body, world.visit("off", "/").status) == (b"<p>index", 410)
