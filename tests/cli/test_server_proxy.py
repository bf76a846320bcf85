"""`--proxy`, `--proxy-auth-file` and the variables of the environment, and that credentials never appear."""

from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from portway.agent.settings import ServerProxy
from portway.cli.server_proxy import server_proxy, server_proxy_options
from portway.errors import ConfigError
from portway.protocol.join_string import JoinString
from portway.protocol.proxy_url import ProxyUrl
from portway.telemetry.logs import secrets_mask

JOIN = JoinString("t" * 8, "s" * 43, "server.example.org", 4443, b"p" * 32)
ENVIRON = {"HTTPS_PROXY": "http://ann:S3cret-word@proxy:3128"}


def test_the_option_is_stronger_than_the_environment() -> None:
    assert server_proxy("socks5://own", None, JOIN, ENVIRON) == ServerProxy(ProxyUrl("socks5", "own", 1080))
    assert server_proxy("off", None, JOIN, ENVIRON) is None
    assert server_proxy(None, None, JOIN, ENVIRON) == ServerProxy(ProxyUrl("http", "proxy", 3128, b"ann", b"S3cret-word"), "HTTPS_PROXY")
    assert server_proxy(None, None, JOIN, ENVIRON | {"NO_PROXY": "example.org"}) is None
    assert server_proxy(None, None, JOIN, {}) is None
    assert secrets_mask("with S3cret-word and YW5uOlMzY3JldC13b3Jk") == "with ••• and •••"


def test_an_invalid_url_in_the_environment_is_reported_and_ignored(capsys: pytest.CaptureFixture[str]) -> None:
    assert server_proxy(None, None, JOIN, {"ALL_PROXY": "ftp://ann:S3cret-word@proxy"}) is None
    err = capsys.readouterr().err
    assert "ALL_PROXY: unknown kind of proxy" in err
    assert "S3cret" not in err


def test_credentials_come_from_a_private_file(tmp_path: Path) -> None:
    file = tmp_path / "auth"
    file.touch(mode=0o600)
    file.write_text("ann:p:w\n")
    found = server_proxy("http://proxy", file, JOIN, {})
    assert found is not None
    assert (found.url.user, found.url.password) == (b"ann", b"p:w")
    with pytest.raises(ConfigError, match="--proxy-auth-file: cannot be used without --proxy"):
        server_proxy(None, file, JOIN, ENVIRON)
    file.chmod(0o644)
    with pytest.raises(ConfigError, match="accessible to other users"):
        server_proxy("http://proxy", file, JOIN, {})


def test_a_password_is_refused_on_the_command_line_and_accepted_in_the_environment() -> None:
    got: list[str | None] = []

    @click.command()
    @server_proxy_options
    def command(proxy: str | None, proxy_auth_file: Path | None) -> None:
        got.append(proxy)

    url = "http://ann:S3cret-word@proxy"
    refused = CliRunner().invoke(command, ["--proxy", url])
    assert isinstance(refused.exception, ConfigError)
    assert "--proxy-auth-file FILE, or set the URL in the environment variable PORTWAY_PROXY_URL" in str(refused.exception)
    assert "S3cret" not in str(refused.exception)
    CliRunner().invoke(command, [], env={"PORTWAY_PROXY_URL": url}, catch_exceptions=False)
    CliRunner().invoke(command, ["--proxy", "off"], catch_exceptions=False)
    assert got == [url, "off"]


def test_credentials_in_urls_are_masked_in_every_text() -> None:
    assert secrets_mask("GET socks5h://u:p@host and http://token@h/x") == "GET socks5h://•••@host and http://•••@h/x"
