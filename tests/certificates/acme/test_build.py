"""From settings to a manager: files are checked at the start."""

import asyncio
from dataclasses import dataclass
from pathlib import Path

import pytest

from portway.certificates.acme.build import acme_manager
from portway.certificates.acme.settings import AcmeSettings
from portway.config.values import ListenAddress
from portway.errors import ConfigError
from tests.certificates.acme.kit import empty_source, ignore
from tests.kit.certificates import Identity


@dataclass(frozen=True, kw_only=True)
class Options(AcmeSettings):
    data: Path
    domain: str = "tunnel.example.org"
    acme_email: str = "me@example.org"


def build(options: Options) -> None:
    async def scenario() -> None:
        acme_manager(options, empty_source(), on_event=ignore)

    asyncio.run(scenario())


def test_usual_settings_create_the_account_key(tmp_path: Path, identity: Identity) -> None:
    build(Options(data=tmp_path, acme_ca=identity.cert_file))

    assert len(list((tmp_path / "acme").glob("*/account.key"))) == 1


def test_files_that_cannot_be_used_are_errors_at_the_start(tmp_path: Path, identity: Identity) -> None:
    text = tmp_path / "text"
    text.write_text("hello")
    text.chmod(0o600)
    server = ListenAddress("127.0.0.1", 53)
    for options, error in (
        (Options(data=tmp_path, acme_ca=text), "acme_ca: .*text: expected root certificates as PEM"),
        (Options(data=tmp_path, acme_ca=tmp_path / "missing"), "acme_ca: .*missing: .*No such file"),
        (Options(data=tmp_path, acme_eab=text), "acme_eab: .*expected two words"),
        (Options(data=tmp_path, acme_dns_hook=text), "acme_dns_hook: .*expected a program that this user can run"),
        (Options(data=tmp_path, acme_dns_hook=tmp_path), "acme_dns_hook: .*expected a program"),
        (Options(data=tmp_path, acme_dns_server=server, acme_dns_key=text), "acme_dns_key: .*expected the output of tsig-keygen"),
    ):
        with pytest.raises(ConfigError, match=error):
            build(options)


def test_an_account_key_that_others_can_read_is_an_error_at_the_start(tmp_path: Path) -> None:
    build(Options(data=tmp_path))
    [key] = (tmp_path / "acme").glob("*/account.key")
    key.chmod(0o640)

    with pytest.raises(ConfigError, match="chmod 600"):
        build(Options(data=tmp_path))
