"""`--plain-http` and `--hsts`, as users write them."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from portway.cli.access import read_access
from portway.cli.expose import http
from portway.errors import ConfigError
from portway.protocol.control.messages import AccessRules


def test_without_options_there_are_no_rules() -> None:
    assert read_access({"plain_http": "redirect", "hsts": None}) is None


def test_options_become_rules() -> None:
    assert read_access({"plain_http": "refuse"}) == AccessRules(plain_http="refuse")
    assert read_access({"plain_http": "serve", "hsts": "180d"}) == AccessRules(plain_http="serve", hsts_s=180 * 86400)
    assert read_access({"hsts": "0s"}) == AccessRules(hsts_s=0)


@pytest.mark.parametrize("text", ["4000d", "soon", "-1s"])
def test_invalid_durations_are_errors(text: str) -> None:
    with pytest.raises(ConfigError, match="--hsts: invalid duration"):
        read_access({"hsts": text})


def test_another_word_for_plain_http_is_refused() -> None:
    result = CliRunner().invoke(http, ["3000", "--plain-http", "block"])
    assert result.exit_code == 2
    assert "'redirect', 'serve', 'refuse'" in result.output


HASH = "$scrypt$ln=15,r=8,p=1$AAECAwQFBgcICQoLDA0ODw$AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"


def test_networks_are_comma_separated_and_repeatable() -> None:
    rules = read_access({"allow_ip": ("192.0.2.0/24, 2001:db8::/32", "10.1.2.3"), "deny_ip": ("10.0.0.0/8",)})
    assert rules == AccessRules(allow_ip=["192.0.2.0/24", "2001:db8::/32", "10.1.2.3/32"], deny_ip=["10.0.0.0/8"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"allow_ip": ("10.0.0.1/8",)}, "--allow-ip: invalid network '10.0.0.1/8'"),
        ({"deny_ip": ("all",)}, "--deny-ip: invalid network 'all'"),
        ({"deny_ip": tuple(f"10.0.0.{number}" for number in range(65))}, r"--deny-ip: too many networks \(65\)"),
        ({"allow_ip": ("10.0.0.0/8",), "deny_ip": ("10.0.0.0/8",)}, "both allowed and denied"),
    ],
)
def test_invalid_networks_are_errors(options: dict[str, tuple[str, ...]], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_access(options)


def test_users_come_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "users.txt"
    file.write_text(f"ann:{HASH}\n")
    file.chmod(0o600)
    assert read_access({"basic_auth_file": file}) == AccessRules(users=[("ann", HASH)])
    file.write_text("# nobody\n")
    with pytest.raises(ConfigError, match="expected at least one"):
        read_access({"basic_auth_file": file})
