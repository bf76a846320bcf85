"""`portway join`: reads the join string from stdin, a prompt, a file or the environment, checks it with its server, and saves it."""

import os
import pty
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from portway.agent.join_store import load_join_string, saved_join_string
from portway.protocol.join_string import JoinString, parse
from tests.cli.conftest import Portway
from tests.kit.programs import Program
from tests.kit.programs import portway as start

JOIN = "portway://abc." + "S3cret" * 7 + "@example.org:4443"
NOWHERE = JOIN.replace("example.org", "portway.invalid")


@pytest.fixture
def data(home: Path) -> Path:
    return home / "XDG_DATA_HOME" / "portway"


class Server:
    """A running server, whose tokens can be created and revoked."""

    def __init__(self, program: Program, folder: Path, portway: Portway) -> None:
        self.folder = folder
        self.http = program.expect(r"http visitors +(\S+)")[1]
        program.expect("advertised as")
        self._portway = portway

    def token(self, name: str = "laptop") -> JoinString:
        return parse(self._portway("token", "create", name, "--data", str(self.folder)).stdout)

    def revoke(self, name: str = "laptop") -> None:
        assert self._portway("token", "revoke", name, "--data", str(self.folder)).exit_code == 0


@contextmanager
def running(home: Path, portway: Portway, name: str, *flags: str) -> Iterator[Server]:
    """Run a server within the block."""
    args = ("server", "--http", "127.0.0.1:0", "--agents", "127.0.0.1:0", "--https", "off", "--data", str(home / name), *flags)
    with start(*args) as program:
        yield Server(program, home / name, portway)


@pytest.fixture
def server(home: Path, portway: Portway) -> Iterator[Server]:
    with running(home, portway, "server") as one:
        yield one


# Sources of the join string.


def test_a_join_string_from_stdin_is_checked_and_saved(portway: Portway, data: Path, server: Server) -> None:
    join = server.token()
    done = portway("join", input=f"{join}\n")

    assert (done.exit_code, done.stdout) == (0, "")
    checked, saved = done.stderr.splitlines()
    assert checked.startswith(f"Server 0.1.0 at 127.0.0.1:{join.port}")
    assert checked.endswith("accepts the token.")
    assert saved == f"Join string saved to {data / 'agent-join'}. Next: portway http 3000"
    assert load_join_string(None, {}, data) == join
    assert [path.name for path in data.iterdir()] == ["agent-join"]


def test_a_file_and_the_environment_are_sources_too(portway: Portway, data: Path, home: Path) -> None:
    file = home / "join"
    file.touch(0o600)
    file.write_text(JOIN.replace("example", "filed"))

    assert portway("join", "--offline", "--join-file", str(file)).exit_code == 0
    assert load_join_string(None, {}, data).host == "filed.org"
    assert portway("join", "--offline", "--replace", env={"PORTWAY_JOIN": JOIN}).exit_code == 0
    assert load_join_string(None, {}, data).host == "example.org"


def test_an_invalid_join_string_is_not_saved(portway: Portway, data: Path) -> None:
    done = portway("join", input="hello\n")

    assert done.exit_code == 2
    assert "invalid join string" in done.stderr
    assert not data.exists()


def test_a_join_string_on_the_command_line_is_refused_with_the_reason(portway: Portway, data: Path) -> None:
    done = portway("join", JOIN)

    assert done.exit_code == 2
    assert "other users of this machine can read it" in done.stderr
    assert not data.exists()


def test_the_prompt_does_not_echo_and_reads_all_lines(home: Path, data: Path) -> None:
    pinned = f"{JOIN}?pin=sha256:{'ab' * 32}"
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "portway", "join", "--offline"], stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
    ) as program:
        os.close(theirs)
        shown = b""
        while b"not echoed" not in shown:
            shown += os.read(ours, 1000)
        os.write(ours, pinned.replace("?", "\n?").replace("S3cretS3", "S3cret\nS3").encode() + b"\n")
        while b"saved to" not in shown:
            shown += os.read(ours, 1000)
        assert program.wait(10) == 0
    os.close(ours)

    assert b"S3cret" not in shown
    assert str(load_join_string(None, {}, data)) == pinned


def test_line_breaks_in_a_file_are_ignored(portway: Portway, data: Path, server: Server) -> None:
    join = server.token()
    wrapped = str(join).replace("?pin", "\n   ?pin").replace(".", ".\r\n", 1)

    assert portway("join", input=wrapped).exit_code == 0
    assert load_join_string(None, {}, data) == join


# The check with its server.


def test_a_refused_join_string_is_saved_only_with_offline(portway: Portway, data: Path, server: Server) -> None:
    join = server.token()
    server.revoke()
    done = portway("join", input=str(join))

    assert (done.exit_code, done.stdout) == (3, "")
    assert "token laptop was revoked (token_revoked)" in done.stderr
    assert "Nothing was saved; --offline saves" in done.stderr
    assert join.secret not in done.stderr
    assert not data.exists()
    assert portway("join", "--offline", input=str(join)).exit_code == 0
    assert load_join_string(None, {}, data) == join


def test_a_different_server_is_an_error(portway: Portway, data: Path, server: Server) -> None:
    join = server.token()
    wrong = JoinString(join.token_id, join.secret, join.host, join.port, b"p" * 32)
    done = portway("join", input=str(wrong))

    assert done.exit_code == 3
    assert "(wrong_pin)" in done.stderr
    cut = portway("join", input=str(JoinString(join.token_id, join.secret, "localhost", join.port)))
    assert cut.exit_code == 3
    assert "(wrong_certificate)" in cut.stderr
    assert "the end of the join string is missing" in cut.stderr
    assert not data.exists()


def test_the_port_for_visitors_is_recognised(portway: Portway, data: Path, server: Server) -> None:
    join = server.token()
    visitors = int(server.http.rpartition(":")[2])
    done = portway("join", input=str(JoinString(join.token_id, join.secret, "127.0.0.1", visitors, join.pin)))

    assert done.exit_code == 2
    assert f"127.0.0.1:{visitors} is where this Portway server accepts HTTP visitors" in done.stderr
    assert "Nothing was saved" in done.stderr
    assert not data.exists()


def test_a_join_string_of_an_unreachable_server_is_saved_with_a_warning(portway: Portway, data: Path) -> None:
    done = portway("join", input=NOWHERE)

    assert done.exit_code == 0
    assert "cannot resolve the name portway.invalid" in done.stderr
    assert "saved anyway" in done.stderr
    assert str(load_join_string(None, {}, data)) == NOWHERE


def test_links_without_tls_are_reported(portway: Portway, home: Path) -> None:
    with running(home, portway, "plain", "--plaintext-links") as server:
        done = portway("join", input=str(server.token()))

    assert done.exit_code == 0
    assert "agents need --plaintext-links" in done.stderr


def test_offline_connects_to_no_server(portway: Portway, data: Path) -> None:
    contacted = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener, ExitStack() as taken:

        def take() -> None:
            try:
                taken.enter_context(listener.accept()[0])
                contacted.set()
            except OSError:
                pass

        thread = threading.Thread(target=take)
        thread.start()
        join = JOIN.replace("example.org:4443", f"127.0.0.1:{listener.getsockname()[1]}")
        assert portway("join", "--offline", input=join).exit_code == 0
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(10)
    assert not contacted.is_set()
    assert str(load_join_string(None, {}, data)) == join


# Several servers.


def test_a_second_server_needs_a_name(portway: Portway, data: Path) -> None:
    first, second = JOIN, JOIN.replace("example.org", "office.example.org")
    assert portway("join", "--offline", input=first).exit_code == 0
    refused = portway("join", "--offline", input=second)
    assert refused.exit_code == 2
    assert "the join string of a different server, example.org:4443, is already saved" in refused.stderr
    assert "--server NAME" in refused.stderr
    assert str(load_join_string(None, {}, data)) == first

    done = portway("join", "--offline", "--server", "office", input=second)
    assert done.exit_code == 0
    assert done.stderr.endswith("Next: portway http 3000 --server office\n")
    assert str(load_join_string(None, {}, data, "office")) == second
    assert str(load_join_string(None, {}, data)) == first
    assert portway("join", "--offline", "--server", "office", input=first).exit_code == 2
    assert portway("join", "--offline", "--replace", input=second).exit_code == 0
    assert str(load_join_string(None, {}, data)) == second


def test_a_new_token_of_the_same_server_replaces_the_old_one(portway: Portway, data: Path) -> None:
    pinned = f"{JOIN}?pin=sha256:{'ab' * 32}"
    assert portway("join", "--offline", input=pinned).exit_code == 0
    moved = pinned.replace("example.org:4443", "example.com:443").replace("abc.", "def.")
    assert portway("join", "--offline", input=moved).exit_code == 0, "the same pin identifies the same server"
    again = JOIN.replace("example.org:4443", "example.com:443").replace("abc.", "ghi.")
    assert portway("join", "--offline", input=again).exit_code == 0
    kept = saved_join_string(data)
    assert kept is not None
    assert kept.token_id == "ghi"


@pytest.mark.parametrize("args", [("http", "1"), ("tcp", "1"), ("speedtest",)])
def test_every_agent_command_has_the_server_option(args: tuple[str, ...], portway: Portway, data: Path) -> None:
    portway("join", "--offline", "--server", "office", input=JOIN)
    unknown = portway(*args, "--server", "home")
    assert unknown.exit_code == 2
    assert "--server: unknown name home: saved names: office" in unknown.stderr
    assert portway(*args, env={"PORTWAY_SERVER": "../x"}).exit_code == 2
    none = portway(*args)
    assert none.exit_code == 2
    assert "or give --server with one of office" in none.stderr
    assert sorted(path.name for path in data.iterdir()) == ["agent-join.office"]


def test_an_agent_connects_to_the_named_server(portway: Portway, home: Path, server: Server) -> None:
    with running(home, portway, "second") as second:
        assert portway("join", input=str(server.token())).exit_code == 0
        assert portway("join", "--server", "second", input=str(second.token())).exit_code == 0
        for args, port in (((), server.http), (("--server", "second"), second.http)):
            with start("http", "1", "--name", "app", *args) as agent:
                assert agent.first_line().rpartition(":")[2] == port.rpartition(":")[2]


def test_no_directory_is_created_if_nothing_is_saved(portway: Portway, home: Path) -> None:
    for args in (("http", "1"), ("tcp", "1"), ("speedtest",), ("status",)):
        portway(*args)
    assert [path.name for path in home.rglob("*") if path.parent != home] == []
