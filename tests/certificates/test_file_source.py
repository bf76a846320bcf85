"""The operator's files: served, reloaded when they change, and never lost by a fault."""

import asyncio
import contextlib
import datetime as dt
import os
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from portway.certificates import file_source
from portway.certificates.contexts import CONTEXT_S_MAX
from portway.certificates.events import CertificateDown, CertificateEvent, CertificateFailed, CertificateUp
from portway.certificates.file_source import FileSource
from portway.errors import ConfigError
from tests.certificates.kit import Clock, bundle, in_loop, join, trusting
from tests.kit.certificates import Identity, make_identity

DEADLINE_S = 10.0


class Watched:
    """A directory with a source that watches it."""

    def __init__(self, folder: Path) -> None:
        self.made, self.folder = folder / "made", folder / "certificates"
        self.made.mkdir()
        self.folder.mkdir()
        self.events: list[CertificateEvent] = []
        self.clock = Clock()
        self._changed = asyncio.Event()
        self.source = FileSource(self.folder, self._on_event, self.clock)

    def _on_event(self, event: CertificateEvent) -> None:
        self.events.append(event)
        self._changed.set()

    def write(self, name: str, content: bytes) -> None:
        path = self.folder / name
        path.write_bytes(content)
        path.chmod(0o600)

    def new(self, *names: str, rsa_bits: int = 0) -> Identity:
        return make_identity(self.made, *names, rsa_bits=rsa_bits)

    async def next_event(self) -> CertificateEvent:
        """Return and remove the next event."""
        async with asyncio.timeout(DEADLINE_S):
            while not self.events:
                self._changed.clear()
                await self._changed.wait()
        return self.events.pop(0)

    def serves(self, identity: Identity, name: str, ciphers: str = "") -> bool:
        """Return whether visitors of a name see this certificate; those with `ciphers` use TLS 1.2."""
        context = self.source.context_for(name)
        if context is None:
            return False
        client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if ciphers:
            client.maximum_version = ssl.TLSVersion.TLSv1_2
            client.set_ciphers(ciphers)
        client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
        return join(context, client, name).client.getpeercert(binary_form=True) == identity.der

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        async with self.source.open():
            yield

    def id(self, name: str) -> str:
        return str(self.folder / name)


@pytest.fixture
def watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Watched:
    monkeypatch.setattr(file_source, "POLL_EVERY_S", 0.05)
    return Watched(tmp_path)


@in_loop
async def test_certificates_are_served_and_reported(watched: Watched) -> None:
    site = watched.new("app.example.org", "*.example.org")
    watched.write("site.pem", bundle(site))

    async with watched.open():
        up = await watched.next_event()
        assert isinstance(up, CertificateUp)
        assert (up.source, up.id, up.names) == ("files", watched.id("site.pem"), ("app.example.org", "*.example.org"))
        assert dt.datetime.fromtimestamp(up.not_after, dt.UTC) == site.certificate.not_valid_after_utc
        context = watched.source.context_for("app.example.org")
        assert context is not None
        assert join(context, trusting(site.cert_file), "app.example.org").client.version() == "TLSv1.3"
        assert watched.source.context_for("any.example.org") is context
        assert watched.source.context_for("example.net") is None
        assert watched.source.has_trusted("any.example.org")
        assert not watched.source.has_trusted("example.net")
        watched.clock.offset_s = 8 * 86_400.0
        assert watched.source.context_for("any.example.org") is context
        assert not watched.source.has_trusted("any.example.org")


@pytest.mark.parametrize("first", ["a-ecdsa.pem", "z-ecdsa.pem"])
@in_loop
async def test_clients_get_the_certificate_with_a_key_that_they_can_use(watched: Watched, first: str) -> None:
    new, old = watched.new("app.example.org", "b.example.org"), watched.new("b.example.org", "app.example.org", rsa_bits=2048)
    watched.write(first, bundle(new))
    watched.write("rsa.pem", bundle(old))

    async with watched.open():
        assert {type(await watched.next_event()) for _ in range(2)} == {CertificateUp}
        for name in ("app.example.org", "b.example.org"):
            assert watched.serves(new, name)
            assert watched.serves(new, name, "ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES128-GCM-SHA256")
            assert watched.serves(old, name, "ECDHE-RSA-AES128-GCM-SHA256")
        (watched.folder / first).unlink()
        assert await watched.next_event() == CertificateDown("files", watched.id(first))
        assert watched.serves(old, "app.example.org")


@in_loop
async def test_a_changed_file_is_loaded_and_unchanged_ones_keep_their_context(watched: Watched) -> None:
    old, new, other = watched.new("app.example.org"), watched.new("app.example.org"), watched.new("other.example.org")
    watched.write("site.pem", bundle(old))
    watched.write("other.pem", bundle(other))

    async with watched.open():
        assert {type(await watched.next_event()) for _ in range(2)} == {CertificateUp}
        before = watched.source.context_for("other.example.org")
        watched.write("site.pem", bundle(new))
        up = await watched.next_event()
        assert isinstance(up, CertificateUp)
        assert up.id == watched.id("site.pem")
        assert watched.serves(new, "app.example.org")
        assert watched.source.context_for("other.example.org") is before
        (watched.folder / "other.pem").unlink()
        assert await watched.next_event() == CertificateDown("files", watched.id("other.pem"))
        assert watched.source.context_for("other.example.org") is None


@in_loop
async def test_a_broken_file_is_reported_once_and_the_old_certificate_stays(watched: Watched) -> None:
    old, new = watched.new("app.example.org"), watched.new("app.example.org")
    watched.write("site.pem", bundle(old))

    async with watched.open():
        await watched.next_event()
        for content, reason in (
            (bundle(new)[:-100], "damaged PEM: a line with END is missing"),
            (b"", "no PEM certificate or key found"),
            (new.cert_file.read_bytes(), "no file has the key of this certificate"),
        ):
            watched.write("site.pem", content)
            assert await watched.next_event() == CertificateFailed("files", watched.id("site.pem"), reason, stays=True)
            assert watched.serves(old, "app.example.org")
        watched.source.reload()
        await asyncio.sleep(0.3)
        assert watched.events == []
        watched.write("site.pem", bundle(new))
        assert isinstance(await watched.next_event(), CertificateUp)
        assert watched.serves(new, "app.example.org")


@in_loop
async def test_a_repaired_fault_is_reported_as_up(watched: Watched) -> None:
    site = watched.new("app.example.org")
    watched.write("site.pem", bundle(site))

    async with watched.open():
        await watched.next_event()
        watched.write("site.pem", b"")
        assert isinstance(await watched.next_event(), CertificateFailed)
        watched.write("site.pem", bundle(site))
        assert isinstance(await watched.next_event(), CertificateUp)


@in_loop
async def test_a_certificate_renewed_in_two_steps_is_never_missing(watched: Watched) -> None:
    old, new = watched.new("app.example.org"), watched.new("app.example.org")
    watched.write("site.crt", old.cert_file.read_bytes())
    watched.write("site.key", old.key_file.read_bytes())

    async with watched.open():
        await watched.next_event()
        watched.write("site.crt", new.cert_file.read_bytes())
        failed = await watched.next_event()
        assert isinstance(failed, CertificateFailed)
        assert failed.stays
        assert watched.serves(old, "app.example.org")
        watched.write("site.key", new.key_file.read_bytes())
        assert isinstance(await watched.next_event(), CertificateUp)
        assert watched.serves(new, "app.example.org")


@in_loop
async def test_an_emptied_or_lost_directory_changes_nothing_but_is_reported(watched: Watched) -> None:
    site = watched.new("app.example.org")
    watched.write("site.pem", bundle(site))

    async with watched.open():
        await watched.next_event()
        (watched.folder / "site.pem").rename(watched.made / "site.pem")
        empty = await watched.next_event()
        assert empty == CertificateFailed("files", str(watched.folder), "no certificate with its key found", stays=True)
        watched.folder.rmdir()
        lost = await watched.next_event()
        assert isinstance(lost, CertificateFailed)
        assert "No such file" in lost.reason
        assert watched.serves(site, "app.example.org")
        assert watched.source.has_trusted("app.example.org")
        watched.folder.mkdir()
        (watched.made / "site.pem").rename(watched.folder / "site.pem")
        while not isinstance(back := await watched.next_event(), CertificateDown):
            pass
        assert back.id == str(watched.folder)


@in_loop
async def test_a_directory_that_comes_back_unchanged_ends_the_fault(watched: Watched) -> None:
    site = watched.new("app.example.org")
    watched.write("site.pem", bundle(site))

    async with watched.open():
        await watched.next_event()
        watched.folder.rename(watched.made / "away")
        assert isinstance(await watched.next_event(), CertificateFailed)
        (watched.made / "away").rename(watched.folder)
        assert await watched.next_event() == CertificateDown("files", str(watched.folder))
        assert watched.serves(site, "app.example.org")


@in_loop
async def test_a_file_that_is_still_being_written_is_not_read(watched: Watched) -> None:
    site, new = watched.new("app.example.org"), watched.new("app.example.org")
    watched.write("site.pem", bundle(site))

    async with watched.open():
        await watched.next_event()
        for size in range(100, len(bundle(new)), 100):
            watched.write("site.pem", bundle(new)[:size])
            await asyncio.sleep(0.02)
        watched.write("site.pem", bundle(new))
        assert isinstance(await watched.next_event(), CertificateUp)
        assert watched.events == []


@in_loop
async def test_reload_reads_files_again_that_seem_unchanged(watched: Watched) -> None:
    old, new = watched.new("app.example.org"), watched.new("app.example.org")
    size = max(len(bundle(old)), len(bundle(new)))
    watched.write("site.pem", bundle(old).ljust(size))
    stamp = (watched.folder / "site.pem").stat().st_mtime_ns

    async with watched.open():
        await watched.next_event()
        watched.write("site.pem", bundle(new).ljust(size))
        os.utime(watched.folder / "site.pem", ns=(stamp, stamp))
        await asyncio.sleep(0.3)
        assert watched.serves(old, "app.example.org")
        watched.source.reload()
        assert isinstance(await watched.next_event(), CertificateUp)
        assert watched.serves(new, "app.example.org")


@in_loop
async def test_contexts_are_replaced_daily_without_an_event(watched: Watched) -> None:
    site = watched.new("app.example.org")
    watched.write("site.pem", bundle(site))

    async with watched.open():
        await watched.next_event()
        before = watched.source.context_for("app.example.org")
        watched.clock.offset_s = CONTEXT_S_MAX + 1
        async with asyncio.timeout(DEADLINE_S):
            while watched.source.context_for("app.example.org") is before:  # noqa: ASYNC110 - the thread that replaces it emits nothing
                await asyncio.sleep(0.01)
        assert watched.serves(site, "app.example.org")
        assert watched.events == []


@in_loop
async def test_an_unexpected_error_ends_neither_the_server_nor_the_checks(watched: Watched) -> None:
    site, new = watched.new("app.example.org"), watched.new("app.example.org")
    watched.write("site.pem", bundle(site))

    async with watched.open():
        await watched.next_event()
        watched.clock.offset_s = None  # type: ignore[assignment]  # each use of the clock fails
        watched.write("site.pem", bundle(new))
        watched.source.reload()
        await asyncio.sleep(0.2)
        watched.clock.offset_s = 0.0
        assert watched.source.context_for("app.example.org") is not None
        watched.source.reload()
        assert isinstance(await watched.next_event(), CertificateUp)


@in_loop
async def test_a_missing_directory_is_an_error_at_the_start(watched: Watched) -> None:
    watched.folder.rmdir()
    with pytest.raises(ConfigError, match=r"certificates: .*cannot be read: No such file or directory"):
        async with watched.open():
            pass


@in_loop
async def test_a_start_with_broken_files_reports_them_and_serves_the_others(watched: Watched) -> None:
    site = watched.new("app.example.org")
    watched.write("broken.pem", bundle(site)[:-100])
    watched.write("site.pem", bundle(site))

    async with watched.open():
        events = {type(event): event for event in [await watched.next_event(), await watched.next_event()]}
        failed = events[CertificateFailed]
        assert isinstance(failed, CertificateFailed)
        assert (failed.id, failed.stays) == (watched.id("broken.pem"), False)
        assert watched.serves(site, "app.example.org")
