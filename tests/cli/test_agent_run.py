"""Settings of an agent from the options of its session."""

from pathlib import Path

import pytest

from portway.agent.target import Target
from portway.cli.agent_run import SessionOptions, agent_settings
from portway.cli.tunnel_request import tunnel_request
from portway.errors import ConfigError
from portway.protocol.join_string import JoinString


def options(tmp_path: Path, **changes: object) -> SessionOptions:
    file = tmp_path / "join"
    file.touch(mode=0o600)
    file.write_text(f"{JoinString('t' * 8, 's' * 43, '127.0.0.1', 4443, b'p' * 32)}\n")
    values = {
        "plaintext_links": False,
        "max_links": 2,
        "connect_timeout": 7.0,
        "drain": 3.0,
        "ca_file": None,
        "proxy": "off",
        "proxy_auth_file": None,
        "join_file": file,
        "server": "",
        "data": tmp_path / "data",
        "log_time": False,
        "as_json": False,
        "log_level": "warning",
        "inspect": None,
        "no_inspect": False,
        "inspect_open": False,
        "capture_max": None,
        "capture_bodies": None,
        "redact": (),
        "no_redact": False,
    }
    return {**values, **changes}  # type: ignore[typeddict-item]


def test_options_become_settings(tmp_path: Path) -> None:
    request = tunnel_request("http", {"target": "3000"})
    settings = agent_settings((request,), options(tmp_path))
    assert (settings.links_max, settings.connect_s_max, settings.drain_s) == (2, 7.0, 3.0)
    assert settings.tunnels[0].target == Target("localhost", 3000)


def test_a_ca_file_contradicts_a_join_string_with_a_pin(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--ca-file: cannot be used"):
        agent_settings((), options(tmp_path, ca_file=tmp_path / "ca.pem"))
