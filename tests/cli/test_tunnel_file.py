"""Tunnels in a configuration file: what it means, and what its errors say."""

from pathlib import Path

import click
import pytest

from portway.agent.settings import TunnelRequest
from portway.cli import expose
from portway.cli.tunnel_file import KINDS, TUNNELS_MAX, load_tunnel_file, session_parameters, session_values, tunnel_keys
from portway.engine.policy import Policy
from portway.errors import ConfigError

GOOD = """
[agent]
drain = "3s"
max_links = 2
ca_file = "ca.pem"

[defaults]
idle_timeout = "10m"
takeover = true

[tunnels.blog]
target = "3000"
groups = ["web"]

[tunnels.api]
target = "http://127.0.0.1:${PORT:-8000}"
name = "api-${USER}"
host_header = "rewrite"
request_header = ["X-A: b", "-Via"]
idle_timeout = "1m"
takeover = false
groups = ["web", "all-day"]

[tunnels.random]
target = "3001"
name = ""

[tunnels.whole]
target = "3002"
host = "www.example.org"

[tunnels.ssh]
kind = "tcp"
target = "22"
port = 20022
send_proxy = true
"""


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable that an option reads must not apply to every tunnel of a file."""
    monkeypatch.setenv("PORTWAY_NAME", "from-the-environment")
    monkeypatch.setenv("PORTWAY_MAX_RATE", "nonsense")


def write(folder: Path, text: str) -> Path:
    (folder / "ca.pem").touch()
    file = folder / "portway.toml"
    file.write_text(text)
    return file


def errors(folder: Path, text: str) -> list[str]:
    file = write(folder, text)
    with pytest.raises(ConfigError) as caught:
        load_tunnel_file(file, {})
    return [line.replace(f"{file}:", "") for line in str(caught.value).splitlines()]


def test_a_tunnel_is_what_the_same_options_are_on_a_command_line(tmp_path: Path) -> None:
    tunnels = load_tunnel_file(write(tmp_path, GOOD), {"USER": "ada"}).tunnels

    assert list(tunnels) == ["blog", "api", "random", "whole", "ssh"]
    blog, api, ssh = tunnels["blog"], tunnels["api"], tunnels["ssh"]
    assert (blog.kind, blog.target.text, blog.name, blog.label) == ("http", "localhost:3000", "blog", "blog")
    assert (blog.policy, blog.takeover) == (Policy(idle_timeout_s=600.0), True)
    assert (api.target.text, api.name, api.policy.idle_timeout_s, api.takeover) == ("http://127.0.0.1:8000", "api-ada", 60.0, False)
    assert api.rewrite is not None
    assert (api.rewrite.host, api.rewrite.request) == ("localhost:8000", [("X-A", "b"), ("Via", None)])
    assert (tunnels["random"].name, tunnels["whole"].name, tunnels["whole"].host) == ("", "", "www.example.org")
    assert (ssh.kind, ssh.port, ssh.send_proxy, ssh.name) == ("tcp", 20022, True, "")


def test_the_table_agent_has_the_options_of_the_session(tmp_path: Path) -> None:
    file = load_tunnel_file(write(tmp_path, GOOD), {"USER": "ada"})
    assert file.session == {"drain": "3s", "max_links": 2, "ca_file": str(tmp_path / "ca.pem")}
    assert session_values(file.path, {}) == file.session


def test_names_and_groups_select_tunnels_in_the_order_of_the_file(tmp_path: Path) -> None:
    file = load_tunnel_file(write(tmp_path, GOOD), {"USER": "ada"})

    def selected(*names: str) -> list[str]:
        return [request.label for request in file.select(names)]

    assert selected() == list(file.tunnels)
    assert selected("ssh", "web") == ["blog", "api", "ssh"]
    assert selected("all-day") == ["api"]
    with pytest.raises(ConfigError, match=r"no tunnel or group 'blgo'; did you mean blog\?"):
        file.select(["blgo"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[tunnels.a]\ntargit = "1"\ntarget = "1"', "2: tunnels.a.targit: unknown setting; did you mean target?"),
        ('[tunnels.a]\nname = "b"', "1: tunnels.a: target is missing: expected the local service"),
        ('[tunnels.a]\ntarget = "ftp://x:1"', "2: tunnels.a.target: 'ftp://x:1': unsupported scheme ftp://"),
        ('[tunnels.a]\ntarget = "1"\nmax_rate = "many"', "3: tunnels.a.max_rate: "),
        ("[tunnels.a]\ntarget = 1\nmax_rate = true", "3: tunnels.a.max_rate: expected text in quotes, got True"),
        ('[tunnels.a]\ntarget = "1"\ntakeover = "yes"', "3: tunnels.a.takeover: expected true or false, got 'yes'"),
        ('[tunnels.a]\ntarget = "1"\ndrain = "1s"', "3: tunnels.a.drain: applies to all tunnels; move it to table [agent]"),
        ('[tunnels.a]\ntarget = "1"\nname = "b"\nhost = "c"', "3: tunnels.a.name: cannot be combined"),
        ('[tunnels.a]\nkind = "tcp"\ntarget = "1"\nport = 70000', "4: tunnels.a.port: 70000 is not in the range"),
        ('[tunnels.a]\nkind = "tcp"\ntarget = "1"\nhost_header = "x"', "4: tunnels.a.host_header: unknown setting; "),
        ('[tunnels.a]\nkind = "ftp"\ntarget = "1"', "2: tunnels.a.kind: expected one of http, tcp, tls, got 'ftp'"),
        ('[tunnels.a]\ntarget = "${NOT_SET}"', "2: tunnels.a.target: environment variable NOT_SET is not set"),
        ('[tunnels.a]\ntarget = "1"\nbasic_auth_file = "none"', "3: tunnels.a.basic_auth_file: "),
        ('[tunnels.a]\ntarget = "1"\nplain_http = "maybe"', "3: tunnels.a.plain_http: 'maybe' is not one of "),
        ('[tunnels.a]\ntarget = "1"\ngroups = "web"', "3: tunnels.a.groups: expected a list of names"),
        ('[tunnels.a]\ntarget = "1"\ngroups = ["a"]', "3: tunnels.a.groups: 'a' is also the name of a tunnel"),
        ('[tunnels."a b"]\ntarget = "1"', "1: tunnels.a b: invalid name"),
        ("[tunnels]\na = 1", "2: tunnels.a: expected a table, [tunnels.a], got 1"),
        ("tunnels = 1", "1: tunnels: expected a table, [tunnels], got 1"),
        ("[tunnel.a]\ntarget = 1", "1: tunnel: unknown setting; did you mean tunnels?"),
        ('[agent]\ndrain = "3x"', "2: agent.drain: invalid duration '3x'"),
        ('[agent]\ntarget = "1"', "2: agent.target: unknown setting"),
        ('[agent]\nlog_level = "loud"', "2: agent.log_level: 'loud' is not one of"),
        ('[defaults]\nname = "1"', "2: defaults.name: unknown setting"),
        ('[defaults]\nmax_rate = 1.5\n[tunnels.a]\ntarget = "1"', "2: defaults.max_rate: expected text in quotes, got 1.5"),
    ],
)
def test_an_error_names_line_and_key(tmp_path: Path, text: str, message: str) -> None:
    found = errors(tmp_path, text)
    assert len(found) == 1
    assert found[0].startswith(message), found[0]


def test_all_errors_are_reported_at_once(tmp_path: Path) -> None:
    found = errors(tmp_path, '[tunnels.a]\ntarget = "x"\n[tunnels.b]\nkind = "x"\n[tunnels.c]\ntargit = "1"\ntarget = "1"')
    assert [line.split(":")[0] for line in found] == ["2", "4", "6"]


def test_the_number_of_tunnels_is_bounded(tmp_path: Path) -> None:
    many = "".join(f'[tunnels.a{number}]\ntarget = "1"\n' for number in range(TUNNELS_MAX + 1))
    assert "expected at most 1000 tunnels, got 1001" in errors(tmp_path, many)[0]


@pytest.mark.parametrize("kind", KINDS)
def test_every_option_of_a_command_has_a_key(kind: str) -> None:
    command: click.Command = getattr(expose, kind)
    flags = {parameter.opts[0].removeprefix("--").replace("-", "_") for parameter in command.params}
    keys = {*tunnel_keys(kind), *session_parameters()} - {"kind", "groups"}  # type: ignore[arg-type]
    assert keys == flags


def test_requests_of_a_file_are_compared_by_identity(tmp_path: Path) -> None:
    file = write(tmp_path, '[tunnels.a]\ntarget = "1"\n')
    first: TunnelRequest = load_tunnel_file(file, {}).tunnels["a"]
    assert first != load_tunnel_file(file, {}).tunnels["a"]
