"""As containers run programs: a user missing in the password file, no home, secrets that root mounted."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.e2e.world import World
from tests.kit.http_origin import HttpOrigin
from tests.kit.mounts import read_only
from tests.kit.programs import Program

UID = 47110
SOMEBODY = ("setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups")
OK = b"hello from origin\n"


@pytest.fixture
def world() -> Iterator[World]:
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("only root can be a user whom the password file does not know")
    tried = subprocess.run([*SOMEBODY, sys.executable, "-c", "import portway, msgspec, click"], capture_output=True, text=True, check=False)
    if tried.returncode != 0:
        pytest.skip(f"this Python is not for other users: {tried.stderr.strip()[-100:]}")
    with World() as world:
        yield world


@pytest.fixture
def origin() -> Iterator[HttpOrigin]:
    with HttpOrigin() as origin:
        yield origin


def contained(world: World, *words: str | Path, before: tuple[str, ...] = (), home: str | None = None, **env: str) -> Program:
    """Start `portway …` as a container would; without `home`, no HOME is set."""
    unset = ("env", "-u", "HOME", "-u", "XDG_DATA_HOME", "-u", "XDG_RUNTIME_DIR", *([] if home is None else [f"HOME={home}"]))
    return world.start(*words, before=(*before, *unset, *SOMEBODY), env=env)


@pytest.mark.parametrize("home", [None, "/", "/nonexistent", "/dev/null", "/proc"])
def test_an_agent_without_a_home_gets_its_name_back_after_a_kill(home: str | None, world: World, origin: HttpOrigin) -> None:
    world.start_server()
    join = world.token()
    for _ in range(2):
        agent = contained(world, "http", str(origin.port), "--name", "blog", home=home, PORTWAY_JOIN=str(join))
        assert agent.first_line() == f"http://blog.localhost:{world.http_port}"
        agent.expect("agent identity not saved", stream="err")
        assert world.visit("blog").body == OK
        agent.kill()


def test_a_world_readable_secret_of_root_is_accepted(world: World, origin: HttpOrigin) -> None:
    world.start_server()
    join = world.token()
    with TemporaryDirectory(prefix="portway-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "join").write_text(f"{join}\n")
        (folder / "join").chmod(0o444)
        words = ("http", str(origin.port), "--name", "blog", "--join-file", folder / "join")
        refused = contained(world, *words).wait()
        assert refused.code == 2
        assert "is accessible to other users" in refused.err
        agent = contained(world, *words, before=read_only(folder))
        assert agent.first_line() == f"http://blog.localhost:{world.http_port}"
        agent.stop()


def test_a_data_directory_of_root_is_enough_for_an_agent(world: World, origin: HttpOrigin) -> None:
    world.start_server()
    join = world.token()
    with TemporaryDirectory(prefix="portway-") as name:
        folder = Path(name)
        assert world.run("join", "--data", folder, stdin=str(join)).code == 0
        agent = world.agent(join, "http", str(origin.port), "--name", "blog", data=name)
        agent.first_line()
        assert agent.stop().code == 0
        for path in (folder, *folder.iterdir()):
            path.chmod(0o755 if path.is_dir() else 0o444)
        agent = contained(world, "http", str(origin.port), "--name", "blog", "--data", folder, before=read_only(folder))
        assert agent.first_line() == f"http://blog.localhost:{world.http_port}"
        agent.stop()
        assert "agent identity not saved" not in "\n".join(agent.err.lines)


@pytest.mark.parametrize("words", [("server",), ("token", "list"), ("join",), ("http", "1"), ("status",)])
def test_commands_that_need_a_data_directory_say_so(words: tuple[str, ...], world: World) -> None:
    ended = contained(world, *words).wait()

    assert ended.code == (0 if words == ("status",) else 2)
    assert "Traceback" not in ended.err
    assert words == ("status",) or "--data" in ended.err


def test_a_server_runs_with_only_a_data_directory(world: World) -> None:
    with TemporaryDirectory(prefix="portway-") as name:
        os.chown(name, UID, UID)
        server = contained(world, "server", "--http", "127.0.0.1:0", "--agents", "127.0.0.1:0", "--https", "off", "--data", name)
        server.expect("advertised as")
        made = contained(world, "token", "create", "laptop", "--data", name)
        assert made.wait().code == 0
        world.programs.remove(made)  # it prints a secret
        server.stop()
