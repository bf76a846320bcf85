"""Invalid demo settings are refused before anything starts."""

import pytest

from portway.config.sources import load_settings
from portway.demo.settings import DemoSettings
from portway.errors import ConfigError


def settings(**flags: str) -> DemoSettings:
    return load_settings(DemoSettings, "demo", flags=flags, environ={}, file=None)


def test_all_settings_are_optional() -> None:
    assert settings() == DemoSettings(name="", duration_s=None)


def test_name_and_duration_are_parsed() -> None:
    assert settings(name="blog", duration="1m30s") == DemoSettings(name="blog", duration_s=90.0)


@pytest.mark.parametrize("flags", [{"name": "admin"}, {"name": "-x-"}, {"name": "A b"}, {"duration": "soon"}])
def test_invalid_settings_are_refused(flags: dict[str, str]) -> None:
    with pytest.raises(ConfigError):
        settings(**flags)
