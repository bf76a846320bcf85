"""Settings that cannot work are refused, with the flag."""

from typing import Any

import pytest

from portway.config.values import ListenAddress
from portway.errors import ConfigError
from portway.inspector.settings import InspectorSettings


@pytest.mark.parametrize(
    ("settings", "flag"),
    [
        ({"listen": ListenAddress("0.0.0.0", 4040)}, "--inspect"),
        ({"listen": ListenAddress("", 4040)}, "--inspect"),
        ({"listen": ListenAddress("192.0.2.1", 4040)}, "--inspect"),
        ({"capture_bytes_max": 1000}, "--capture-max"),
        ({"body_bytes_max": 1 << 30}, "--capture-bodies"),
    ],
)
def test_invalid_settings(settings: dict[str, Any], flag: str) -> None:
    with pytest.raises(ConfigError, match=flag):
        InspectorSettings(**settings)


def test_loopback_addresses_are_valid() -> None:
    for host in ("127.0.0.1", "localhost", "::1"):
        assert InspectorSettings(listen=ListenAddress(host, 0)).listen.host == host
