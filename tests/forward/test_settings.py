"""Settings of the forward proxy."""

from pathlib import Path
from typing import Any

import pytest

from portway.config.sources import load_settings
from portway.config.values import ListenAddress
from portway.engine.policy import Policy
from portway.errors import ConfigError
from portway.forward.settings import ForwardSettings


def load(tmp_path: Path, text: str = "", **flags: Any) -> ForwardSettings:
    file = tmp_path / "p.toml"
    file.write_text(text)
    return load_settings(ForwardSettings, "proxy", flags=flags, environ={}, file=file)


def test_flags_and_the_file_have_the_same_names(tmp_path: Path) -> None:
    settings = load(tmp_path, '[proxy]\nlisten = "127.0.0.1:1080"\nidle_timeout = "10m"\nallow_private = true\n', max_rate="1mb")
    assert (settings.listen, settings.allow_private) == (ListenAddress("127.0.0.1", 1080), True)
    assert settings.client_policy == Policy(idle_timeout_s=600.0, max_rate_bps=1_000_000)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"tls_cert": "a.pem"}, "--tls-cert.*a certificate and its key belong together"),
        ({"tls_cert": "a", "tls_key": "b", "tls_pkcs12": "c"}, "two certificates"),
        ({"tls_password_file": "a"}, "requires tls_pkcs12"),
        ({"destination": "db"}, "--destination: expected an address"),
        ({"destination": ":80"}, "--destination: expected HOST:PORT"),
        ({"destination": "a..b:80"}, "--destination: invalid host name"),
        ({"initiation_timeout": "0s"}, "--initiation-timeout: expected more than 0s"),
        ({"connect_timeout": "2h"}, "--connect-timeout: expected more than 0s and at most 1h"),
        ({"dns_cache_ttl": "2d"}, "--dns-cache-ttl: expected at most 24h"),
        ({"max_tunnels": "many"}, "--max-tunnels: expected a number"),
        ({"min_rate": "60mb", "max_rate": "1mb"}, "min_rate_bpm"),
    ],
)
def test_what_cannot_work_is_an_error_with_its_source(tmp_path: Path, flags: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load(tmp_path, **flags)


@pytest.mark.parametrize(
    ("address", "local"), [("127.0.0.1:1", True), ("[::1]:1", True), ("localhost:1", True), (":1", False), ("0.0.0.0:1", False)]
)
def test_only_loopback_is_local(tmp_path: Path, address: str, local: bool) -> None:
    assert load(tmp_path, listen=address).is_local is local
