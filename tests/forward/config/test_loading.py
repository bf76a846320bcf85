from pathlib import Path

import pytest

from portway.engine.policy import Policy
from portway.errors import ConfigError
from portway.forward.config.loading import load_forward_settings
from portway.forward.settings import ForwardSettings

TOML = """
[proxy]
listen = "127.0.0.1:3128"
users = "/etc/portway/users.txt"
allow = ["*.example.com:80,443", "10.0.0.0/8"]
block = "bad.example.com"
block_list = ["/etc/portway/ads.txt", "/etc/portway/malware.txt"]
idle_timeout = "5m"

[proxy.user.ann]
block = ["*:25"]
max_rate = "1MB"
"""


def load(folder: Path, text: str, name: str = "proxy.toml", **flags: object) -> ForwardSettings:
    path = folder / name
    path.write_text(text)
    return load_forward_settings(flags=flags, environ={}, file=path)


def test_our_file_has_the_keys_of_the_flags_and_tables_of_users(tmp_path: Path) -> None:
    settings = load(tmp_path, TOML, listen="127.0.0.1:1")

    assert str(settings.listen) == "127.0.0.1:1", "flags come first"
    assert settings.users == Path("/etc/portway/users.txt")
    assert [pattern.text for pattern in settings.allow] == ["*.example.com:80,443", "10.0.0.0/8"]
    assert [pattern.text for pattern in settings.block] == ["bad.example.com"]
    assert settings.block_list == (Path("/etc/portway/ads.txt"), Path("/etc/portway/malware.txt"))
    assert settings.client_policy == Policy(idle_timeout_s=300)
    assert settings.of_users["ann"].limits == Policy(max_rate_bps=1_000_000)


def test_settings_need_no_file() -> None:
    settings = load_forward_settings(flags={"allow": ("*.example",)}, environ={"PORTWAY_BLOCK": "a.example:1,2\nb.example"}, file=None)

    assert [pattern.text for pattern in settings.allow] == ["*.example"]
    assert [pattern.text for pattern in settings.block] == ["a.example:1,2", "b.example"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[proxy]\nlisten_on = 1", r"proxy.toml: \$\.proxy\.listen_on: unknown setting; did you mean listen\?"),
        ("[proxi]\n", r"\$\.proxi: unknown setting; did you mean proxy\?"),
        ('[proxy]\nallow = ["a..b"]', r"\$\.proxy\.allow: invalid pattern 'a..b'"),
        ("[proxy.user.ann]\n", r"\$\.proxy\.user: requires a file of users"),
        ('[proxy]\nusers = "f"\n[proxy.user]\nann = 1', r"\$\.proxy\.user\.ann: expected a table"),
        ("proxy = 1", r"\$\.proxy: expected a table"),
    ],
)
def test_an_invalid_file_is_refused_with_its_key(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        load(tmp_path, text)


@pytest.mark.parametrize("name", ["http-tunnel.yaml", "http-tunnel.yml"])
def test_a_file_of_http_tunnel_gives_the_defaults(name: str, tmp_path: Path) -> None:
    pytest.importorskip("yaml")
    text = """
client_connection: {initiation_timeout: 7s, relay_policy: {idle_timeout: 30s, max_lifetime: 100s}}
target_connection: {dns_cache_ttl: 8s, connect_timeout: 9s, allowed_targets: ".*", relay_policy: {max_total_payload: 100mb}}
"""
    settings = load(tmp_path, text, name, connect_timeout="3s")

    assert (settings.initiation_timeout_s, settings.dns_cache_ttl_s, settings.connect_timeout_s) == (7, 8, 3)
    assert settings.client_policy == Policy(idle_timeout_s=30, max_lifetime_s=100)
    assert settings.target_policy == Policy(max_total_payload=100_000_000)
    assert [pattern.text for pattern in settings.allow] == ["*"]
    assert not settings.allow_private


def test_paths_in_a_file_are_relative_to_it_and_those_of_flags_are_not(tmp_path: Path) -> None:
    text = '[proxy]\nusers = "users.txt"\nblock_list = ["a", "/b"]\nallow_list = "c"\n[proxy.user.ann]\nblock_list = "d"'
    settings = load(tmp_path, text, allow_list=("e",))

    assert settings.users == tmp_path / "users.txt"
    assert settings.block_list == (tmp_path / "a", Path("/b"))
    assert settings.allow_list == (Path("e"),)
    assert settings.of_users["ann"].block_list == (tmp_path / "d",)


def test_credentials_of_other_proxies_are_accepted_from_private_places_only(tmp_path: Path) -> None:
    url = "http://ann:S3cret-word@proxy"
    with pytest.raises(ConfigError, match="--via: the URL contains credentials") as failure:
        load_forward_settings(flags={"via": (url,)}, environ={}, file=None)
    assert "S3cret" not in str(failure.value)
    assert load_forward_settings(flags={}, environ={"PORTWAY_VIA": url}, file=None).via
    file = tmp_path / "portway.toml"
    file.write_text(f'[proxy]\nvia = ["{url}"]\n')
    file.chmod(0o644)
    with pytest.raises(ConfigError, match="accessible to other users"):
        load_forward_settings(flags={}, environ={}, file=file)
    file.chmod(0o600)
    assert "S3cret" not in repr(load_forward_settings(flags={}, environ={}, file=file))
