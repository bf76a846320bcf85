"""Orders are opened where the settings ask for them."""

from dataclasses import dataclass
from pathlib import Path

from portway.certificates.acme.settings import AcmeSettings
from portway.certificates.orders import open_orders
from portway.certificates.store import CertificateStore
from tests.certificates.kit import in_loop
from tests.kit.sockets import tcp_listener


@dataclass(frozen=True, kw_only=True)
class Settings(AcmeSettings):
    data: Path
    domain: str = "tunnel.example.org"
    certificates: Path | None = None
    dev_tls: bool = False
    is_local: bool = False
    https_address: str | None = ":443"


@in_loop
async def test_the_settings_decide_whether_certificates_are_ordered(tmp_path: Path) -> None:
    with tcp_listener() as port:
        for email in ("", "me@example.org"):
            settings = Settings(data=tmp_path, acme_email=email)
            store = CertificateStore(settings, lambda _: None)
            async with store.open(), open_orders(settings, store, lambda _: None, https=port) as orders:
                assert (orders is not None) is bool(email)
            assert (tmp_path / "acme").exists() is bool(email)


@in_loop
async def test_nothing_is_ordered_where_another_program_has_the_port(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path, acme_email="me@example.org")
    store = CertificateStore(settings, lambda _: None)
    async with store.open(), open_orders(settings, store, lambda _: None, https=None) as orders:
        assert orders is None
