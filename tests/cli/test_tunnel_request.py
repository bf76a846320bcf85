"""Options of the commands as a request for a tunnel."""

from pathlib import Path

import pytest

from portway.cli.tunnel_request import tunnel_request
from portway.engine.policy import Policy
from portway.errors import ConfigError


def test_each_kind_reads_its_own_options() -> None:
    http = tunnel_request("http", {"target": "3000", "name": "app", "origin_timeout": "5s", "max_rate": "1mb"}, label="blog")
    tcp = tunnel_request("tcp", {"target": "22", "port": 20022, "send_proxy": True})

    assert (http.kind, http.name, http.origin_timeout_s, http.policy, http.label) == (
        "http",
        "app",
        5.0,
        Policy(max_rate_bps=1_000_000),
        "blog",
    )
    assert (tcp.kind, tcp.port, tcp.send_proxy, tcp.rewrite, tcp.access) == ("tcp", 20022, True, None, None)


@pytest.mark.parametrize("text", ["0s", "31d", "soon"])
def test_an_origin_timeout_has_bounds(text: str) -> None:
    with pytest.raises(ConfigError, match="--origin-timeout: invalid duration"):
        tunnel_request("http", {"target": "3000", "origin_timeout": text})


def test_a_name_and_a_host_contradict_each_other() -> None:
    with pytest.raises(ConfigError, match="--name, --host: cannot be combined"):
        tunnel_request("tls", {"target": "3000", "name": "a", "host": "b.example.org"})


def test_a_folder_or_a_fixed_response_replaces_a_service(tmp_path: Path) -> None:
    folder = tunnel_request("http", {"target": str(tmp_path), "listing": True}).target
    fixed = tunnel_request("http", {"status": 503, "body": "later"}).target
    assert (folder.directory, folder.listing, folder.text, folder.is_static) == (str(tmp_path), True, str(tmp_path), True)
    assert (fixed.status, fixed.body, fixed.text, fixed.is_static) == (503, "later", "status 503", True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target": "3000", "status": 503}, "--status: cannot be combined with TARGET '3000'"),
        ({"target": "3000", "listing": True}, "--listing: requires a folder as TARGET"),
        ({"target": "3000", "body": "x"}, "--body: requires --status"),
        ({}, "TARGET: missing: give the local service"),
    ],
)
def test_static_options_contradict_a_service(options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        tunnel_request("http", options)
