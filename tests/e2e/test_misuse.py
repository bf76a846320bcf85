"""Invalid command lines and configuration: each error names its place, exits with 2, and repeats no secret."""

import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from portway.protocol.join_string import JoinString
from tests.e2e.world import World, event, web


@pytest.fixture
def world() -> Iterator[World]:
    with World() as world:
        yield world


def test_a_server_names_the_file_and_key_of_an_invalid_setting(world: World) -> None:
    config = world.home / "portway.toml"
    cases: list[tuple[str, tuple[str, ...]]] = [
        ('[server]\ntcp_port = "1-2"\n', ("$.server.tcp_port: unknown setting; did you mean tcp_ports?",)),
        ('[server]\nxyzzy = "1"\n', ("$.server.xyzzy: unknown setting; expected one of domain, http, https",)),
        ('[sever]\ndomain = "x.org"\n', ("$.sever: unknown setting; did you mean server?",)),
        ('[server]\nhttp = "no port"\n', ("$.server.http: expected an address like 127.0.0.1:8080 or :80, got 'no port'",)),
        ('[server]\nhold = "90m"\n', ("$.server.hold: expected 0s to 60s, got 5400s",)),
        ("[server]\nhold = 5\n", ("$.server.hold: expected text in quotes, got 5",)),
        ('[server]\nplaintext_links = "yes"\n', ("$.server.plaintext_links: expected true or false, got 'yes'",)),
        ('[server]\nhttp = "x"\nagents = "y"\n', ("$.server.http: expected", "$.server.agents: expected")),
        ("[server\n", (": invalid TOML: ", "line 1")),
    ]
    for text, words in cases:
        config.write_text(text)
        ended = world.run("server", "--config", config)
        assert (ended.code, ended.out) == (2, ""), ended
        for word in (f"portway: {config}: ", *words):
            assert word in ended.err, (word, ended.err)
        assert "Traceback" not in ended.err
    config.unlink()
    ended = world.run("server", "--config", config)
    assert (ended.code, ended.err) == (2, f"portway: {config}: cannot be read: No such file or directory")
    ended = world.run("server", env={"PORTWAY_TCP_PORTS": "9-1"})
    assert (ended.code, ended.err) == (2, "portway: PORTWAY_TCP_PORTS: expected ports from 1 to 65535 as LOW-HIGH, got 9-1")


def test_a_server_names_the_address_that_is_in_use(world: World) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = world.run("server", "--http", f"127.0.0.1:{port}", "--agents", "127.0.0.1:0", "--https", "off", "--data", world.server_data)
    assert (ended.code, ended.out) == (1, "")
    assert f"127.0.0.1:{port}" in ended.err
    assert "in use" in ended.err
    assert "Traceback" not in ended.err


def test_invalid_command_lines_end_with_2_and_a_reason(world: World) -> None:
    join = JoinString("laptop", "S" * 43, "127.0.0.1", 1, b"p" * 32)
    open_to_all, good = world.home / "open", world.home / "good"
    for file, mode in ((open_to_all, 0o644), (good, 0o600)):
        file.write_text(f"{join}\n")
        file.chmod(mode)
    authority = world.home / "ca.pem"
    authority.write_text("")
    given = ("--join-file", good)
    cases: list[tuple[tuple[str | Path, ...], str]] = [
        (("http", "3000", "--bogus"), "No such option '--bogus'"),
        (("htpp", "3000"), "No such command 'htpp'"),
        (("server", "--domian", "x.org"), "No such option '--domian'. (Did you mean one of: '--domain'"),
        (("http",), "TARGET: missing: give the local service, such as 3000"),
        (("http", "99999", *given), "invalid port '99999': expected 1 to 65535"),
        (("http", "ftp://x:1", *given), "unsupported scheme ftp://"),
        (("tcp", "https://x:1", *given), "a tcp tunnel relays bytes as they are"),
        (("http", "3000", "--name", "a", "--host", "b.org", *given), "--name, --host: cannot be combined"),
        (("tcp", "22", "--port", "0", *given), "'--port'"),
        (("http", "3000"), "no join string yet: run `portway join`"),
        (("http", "3000", "--join-file", world.home / "missing"), "missing does not exist"),
        (("http", "3000", "--join-file", open_to_all), f"run `chmod 600 {open_to_all}`"),
        (("http", "3000", "--ca-file", authority, *given), "--ca-file: cannot be used"),
        (("token", "create", "a b", "--data", world.server_data), "NAME: expected 1 to 63 letters"),
        (("token", "create", "x", "--expires", "soon", "--data", world.server_data), "'soon'"),
        (("token", "revoke", "nobody", "--data", world.server_data), "no server has used"),
    ]
    for words, complaint in cases:
        ended = world.run(*words)
        assert (ended.code, ended.out) == (2, ""), (words, ended)
        assert complaint in ended.err, (words, ended.err)
        assert "Traceback" not in ended.err
        assert join.secret not in ended.err


def test_a_join_string_is_never_repeated_in_an_error(world: World) -> None:
    secret = "S" * 20 + "-" + "T" * 22
    text = f"portway://laptop.{secret}@127.0.0.1:1?pin=sha256:{'0' * 64}"
    broken = text.replace("sha256", "md5")
    file = world.home / "broken"
    file.touch(mode=0o600)
    file.write_text(broken)
    on_command_line: list[tuple[str, ...]] = [
        ("join", text),
        ("http", text),
        ("http", "3000", "--join", text),
        ("http", "3000", text),
        ("http", "3000", "--join-file", text),
        ("http", "3000", "--name", text, "--host", "b.org"),
        (text,),
    ]
    for words in on_command_line:
        ended = world.run(*words)
        assert ended.code == 2, (words, ended)
        assert secret not in ended.err + ended.out, (words, ended.err)
    assert "unexpected join string on the command line" in world.run("join", text).err

    world.secrets["the secret of a broken join string"] = secret
    for ended in (
        world.run("http", "3000", env={"PORTWAY_JOIN": broken}),
        world.run("http", "3000", "--join-file", file),
        world.run("http", "3000", "--join-file", "-", stdin=broken),
        world.run("join", stdin=broken),
    ):
        assert ended.code == 2
        assert "join string: unknown, invalid or repeated option 'pin': expected portway://ID.SECRET@HOST" in ended.err

    kept = world.run("join", stdin=text + "\n", env={"PORTWAY_DATA": str(world.home / "kept")})
    assert (kept.code, kept.out) == (0, "")
    stat = (world.home / "kept" / "agent-join").stat()
    assert stat.st_mode & 0o777 == 0o600
    assert stat.st_uid == os.getuid()


def test_a_damaged_identity_is_named_and_not_replaced(world: World) -> None:
    world.start_server().stop()
    identity = world.server_data / "server-identity.pem"
    identity.write_text("not a certificate")
    words = ("server", "--http", "127.0.0.1:0", "--agents", "127.0.0.1:0", "--https", "off", "--data", world.server_data)
    ended = world.run(*words)
    assert ended.code == 2
    assert f"{identity}: damaged" in ended.err
    assert identity.read_text() == "not a certificate"


def test_status_and_events_show_no_secrets_of_running_programs(world: World) -> None:
    server = world.start_server()
    join = world.token()
    agent = world.agent(join, *web())
    event(agent, "tunnel_up")
    told = json.loads(world.run("status", "--json").out)
    assert {one["program"] for one in told} == {"server", "agent"}
    assert world.run("status").code == 0
    assert world.run("token", "list", "--json", "--data", world.server_data).code == 0
    for program in (server, agent):
        assert program.stop().code == 0
