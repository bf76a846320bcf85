"""The order of sources."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from portway.certificates.acme.pem import challenge_pem
from portway.certificates.dev_ca import ROOT_FILE
from portway.certificates.events import CertificateEvent, CertificateUp
from portway.certificates.store import CertificateStore
from tests.certificates.kit import NO_CHECK_TIME, Clock, bundle, in_loop, join, trusting
from tests.kit.certificates import Identity, make_identity


@dataclass(frozen=True)
class Settings:
    data: Path
    domain: str = "localhost"
    certificates: Path | None = None
    dev_tls: bool = False
    is_local: bool = True
    https_address: str | None = "127.0.0.1:8443"
    acme_email: str = ""
    acme_directory: str = "https://ca.example.org/"


@pytest.fixture
def site(tmp_path: Path) -> Identity:
    folder = tmp_path / "certificates"
    folder.mkdir()
    site = make_identity(tmp_path, "app.localhost")
    (folder / "site.pem").write_bytes(bundle(site))
    (folder / "site.pem").chmod(0o600)
    return site


@pytest.mark.parametrize(
    ("settings", "sources"),
    [
        (Settings(Path(), "tunnel.example.org", is_local=False), []),
        (Settings(Path(), "tunnel.example.org", dev_tls=True, is_local=False), ["DevelopmentSource"]),
        (Settings(Path(), "tunnel.example.org", Path("pems"), is_local=False), ["FileSource"]),
        (Settings(Path(), "tunnel.example.org", acme_email="me@example.org", is_local=False), ["AcmeSource"]),
        (Settings(Path(), "a.org", Path("pems"), acme_email="me@a.org", dev_tls=True), ["FileSource", "AcmeSource", "DevelopmentSource"]),
        (Settings(Path()), ["DevelopmentSource"]),
        (Settings(Path(), dev_tls=True, https_address=None), []),
        (Settings(Path(), certificates=Path("pems"), dev_tls=True), ["FileSource", "DevelopmentSource"]),
    ],
)
def test_the_settings_decide_which_sources_there_are(settings: Settings, sources: list[str]) -> None:
    assert [type(source).__name__ for source in CertificateStore(settings, lambda _: None).sources] == sources


@in_loop
async def test_files_come_before_the_development_ca(site: Identity, tmp_path: Path) -> None:
    store = CertificateStore(Settings(tmp_path / "data", certificates=tmp_path / "certificates"), lambda _: None)
    async with store.open():
        mine, other = store.context_for("app.localhost"), store.context_for("other.localhost")
        assert mine is not None
        assert other is not None
        join(mine, trusting(site.cert_file), "app.localhost")
        join(other, trusting(tmp_path / "data" / ROOT_FILE), "other.localhost")
        assert store.has_trusted("app.localhost")
        assert not store.has_trusted("other.localhost")
        assert store.context_for("example.org") is None


@in_loop
async def test_a_trusted_certificate_comes_before_an_expired_one(site: Identity, tmp_path: Path) -> None:
    for dev_tls, expected in ((False, site.cert_file), (True, tmp_path / "data" / ROOT_FILE)):
        settings = Settings(tmp_path / "data", certificates=tmp_path / "certificates", dev_tls=dev_tls)
        store = CertificateStore(settings, lambda _: None, clock=(clock := Clock()))
        async with store.open():
            clock.offset_s = 8 * 86_400.0
            assert store.has_trusted("app.localhost") is dev_tls
            context, client = store.context_for("app.localhost"), trusting(expected)
            assert context is not None
            client.verify_flags |= NO_CHECK_TIME
            join(context, client, "app.localhost")


def test_what_is_saved_is_described_without_a_server(site: Identity, tmp_path: Path) -> None:
    store = CertificateStore(Settings(tmp_path / "data", certificates=tmp_path / "certificates"), lambda _: None)
    events: list[CertificateEvent] = store.load()

    assert [event.names for event in events if isinstance(event, CertificateUp)] == [("app.localhost",)]
    assert not (tmp_path / "data").exists()
    store.reload()


@in_loop
async def test_a_name_with_a_certificate_of_the_operator_needs_no_order(site: Identity, tmp_path: Path) -> None:
    settings = Settings(tmp_path / "data", certificates=tmp_path / "certificates", acme_email="me@example.org", dev_tls=True)
    store = CertificateStore(settings, lambda _: None, clock=(clock := Clock()))
    async with store.open():
        assert store.needs_no_order("app.localhost")
        assert not store.needs_no_order("other.localhost"), "the development CA comes after the real one"
        clock.offset_s = 8 * 86_400.0
        assert not store.needs_no_order("app.localhost")


def test_challenges_are_those_of_the_ca_s_source() -> None:
    without, store = (CertificateStore(Settings(Path(), acme_email=email), lambda _: None) for email in ("", "me@example.org"))
    assert without.http_challenge("app.example.org", "token") is None
    assert without.challenge_context("app.example.org") is None
    assert not without.needs_no_order("app.example.org")
    assert store.acme is not None
    store.acme.set_http_challenge("app.example.org", "token", "body")
    store.acme.set_alpn_challenge("app.example.org", challenge_pem("app.example.org", "body"))
    assert store.http_challenge("app.example.org", "token") == b"body"
    assert store.challenge_context("app.example.org") is not None
