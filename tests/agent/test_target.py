"""TARGET in all its forms, and each wrong one with its own advice."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portway.agent.target import Target, parse_target
from portway.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "expected", "shown"),
    [
        ("3000", Target("localhost", 3000), "localhost:3000"),
        ("localhost:3000", Target("localhost", 3000), "localhost:3000"),
        ("db.internal:5432", Target("db.internal", 5432), "db.internal:5432"),
        ("my_service:80", Target("my_service", 80), "my_service:80"),
        ("[::1]:3000", Target("::1", 3000), "[::1]:3000"),
        ("[fe80::1%eth0]:3000", Target("fe80::1%eth0", 3000), "[fe80::1%eth0]:3000"),
        ("http://localhost", Target("localhost", 80, scheme="http"), "http://localhost:80"),
        ("HTTP://localhost:3000/", Target("localhost", 3000, scheme="http"), "http://localhost:3000"),
        ("https://localhost:8443", Target("localhost", 8443, tls=True, scheme="https"), "https://localhost:8443"),
        ("https://[::1]", Target("::1", 443, tls=True, scheme="https"), "https://[::1]:443"),
        ("unix:/run/app.sock", Target(path="/run/app.sock"), "unix:/run/app.sock"),
        ("unix:/run/with space.sock", Target(path="/run/with space.sock"), "unix:/run/with space.sock"),
    ],
)
def test_every_valid_form_is_parsed(text: str, expected: Target, shown: str) -> None:
    assert parse_target(text) == expected
    assert expected.text == shown


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", "the port is missing"),
        ("localhost", "the port is missing; give a port"),
        ("[::1]", "the port is missing"),
        ("::1:3000", "invalid host name"),
        ("0", "invalid port '0': expected 1 to 65535"),
        ("65536", "expected 1 to 65535"),
        ("99999999", "expected 1 to 65535"),
        ("localhost:", "invalid port ''"),
        ("localhost:+80", r"invalid port '\+80'"),
        ("localhost:٨٠", "invalid port"),
        (":3000", "the host is missing; give a port alone"),
        ("a b:3000", "invalid host name 'a b'"),
        ("[.21]:80", "invalid host name '.21'"),
        ("[1:2]:80", "invalid host name '1:2'"),
        ("[::1%]:80", "invalid host name '::1%'"),
        ("host/path:80", "invalid host name"),
        ("ftp://host:21", "unsupported scheme ftp://"),
        ("http://host:80/admin", "not a path; give http://host:80"),
        ("https://", "invalid host name ''"),
        ("unix:app.sock", "the socket's absolute path"),
        ("unix:/" + "x" * 107, "at most 107 bytes"),
        ("unix:/a\0b", "at most 107 bytes"),
        ("--help:80", "invalid host name"),
    ],
)
def test_every_invalid_form_has_its_own_error(text: str, error: str) -> None:
    with pytest.raises(ConfigError, match=error):
        parse_target(text)


def test_a_password_in_a_target_is_never_repeated() -> None:
    with pytest.raises(ConfigError) as found:
        parse_target("http://anna:hunter2@localhost:3000")

    assert "hunter2" not in str(found.value)
    assert "leave the user name and password out" in str(found.value)


def test_a_url_is_invalid_for_a_tcp_tunnel() -> None:
    for text in ("http://localhost:3000", "https://localhost"):
        with pytest.raises(ConfigError, match=f"relays bytes as they are; give host:port, or use `portway http {text}`"):
            parse_target(text, "tcp")
    assert parse_target("unix:/run/pg.sock", "tcp").path == "/run/pg.sock"
    assert parse_target("5432", "tcp") == Target("localhost", 5432)


@given(st.text())
def test_noise_is_a_target_or_a_config_error_and_nothing_else(text: str) -> None:
    try:
        found = parse_target(text)
    except ConfigError:
        return
    assert found.path or 1 <= found.port <= 65535
    assert parse_target(found.text) == found


def test_a_path_is_a_folder_which_must_exist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    for text in (".", "./", str(tmp_path)):
        assert parse_target(text) == Target(directory=str(tmp_path))
    with pytest.raises(ConfigError, match="no such folder"):
        parse_target("./missing")
    with pytest.raises(ConfigError, match="is a file; give its folder"):
        parse_target("./file")
    with pytest.raises(ConfigError, match="a tcp tunnel needs a service"):
        parse_target(".", "tcp")


@pytest.mark.parametrize("text", ["./a\0b", "./" + "x" * 300, "~/" + "x/" * 3000])
def test_a_path_that_no_file_can_have_is_an_error(text: str) -> None:
    with pytest.raises(ConfigError, match="TARGET"):
        parse_target(text)
