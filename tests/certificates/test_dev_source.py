"""Certificates on demand from the development CA."""

from pathlib import Path

import pytest

from portway.certificates import dev_source
from portway.certificates.contexts import CONTEXT_S_MAX
from portway.certificates.dev_ca import KEY_FILE, ROOT_FILE, ensure_ca
from portway.certificates.dev_source import DevelopmentSource
from portway.certificates.events import CertificateEvent, CertificateFailed, CertificateUp
from portway.clock import wall
from portway.errors import ConfigError
from tests.certificates.kit import NO_CHECK_TIME, Clock, in_loop, join, trusting


def source(folder: Path, events: list[CertificateEvent], clock: Clock | None = None, *, trusted: bool = False) -> DevelopmentSource:
    return DevelopmentSource(folder, "localhost", trusted=trusted, on_event=events.append, clock=clock or Clock())


@in_loop
async def test_each_name_gets_a_certificate_when_it_is_first_visited(tmp_path: Path) -> None:
    events: list[CertificateEvent] = []
    one = source(tmp_path, events)
    assert one.context_for("app.localhost") is None

    async with one.open():
        context = one.context_for("app.localhost")
        assert context is not None
        assert one.context_for("app.localhost") is context
        assert one.context_for("other.localhost") is not context
        assert one.context_for("app.example.org") is None
        joined = join(context, trusting(tmp_path / ROOT_FILE), "app.localhost")
        assert joined.client.version() == "TLSv1.3"

    (up,) = events
    assert isinstance(up, CertificateUp)
    assert (up.source, up.names) == ("dev", ("localhost", "*.localhost"))
    assert up.not_after > wall() + 9 * 365 * 86_400


@in_loop
async def test_only_an_explicit_choice_counts_as_trusted(tmp_path: Path) -> None:
    for trusted in (False, True):
        one = source(tmp_path, [], trusted=trusted)
        assert not one.has_trusted("app.localhost")
        async with one.open():
            assert one.has_trusted("app.localhost") is trusted
            assert not one.has_trusted("app.example.org")


@in_loop
async def test_contexts_are_replaced_daily_and_leaves_before_they_expire(tmp_path: Path) -> None:
    clock = Clock()
    one = source(tmp_path, [], clock)

    def leaf() -> bytes | None:
        context, client = one.context_for("app.localhost"), trusting(tmp_path / ROOT_FILE)
        client.verify_flags |= NO_CHECK_TIME
        assert context is not None
        return join(context, client, "app.localhost").client.getpeercert(binary_form=True)

    async with one.open():
        first, certificate = one.context_for("app.localhost"), leaf()
        clock.offset_s = CONTEXT_S_MAX + 1
        assert one.context_for("app.localhost") is not first
        assert leaf() == certificate
        clock.offset_s = 61 * 86_400.0
        assert leaf() != certificate


@in_loop
async def test_the_number_of_names_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dev_source, "LEAVES_MAX", 2)
    one = source(tmp_path, [])
    async with one.open():
        first, second = one.context_for("1.localhost"), one.context_for("2.localhost")
        assert one.context_for("1.localhost") is first
        one.context_for("3.localhost")
        assert one.context_for("1.localhost") is first
        assert one.context_for("2.localhost") is not second


@in_loop
async def test_a_root_that_cannot_be_used_is_reported_and_an_error_if_it_is_required(tmp_path: Path) -> None:
    ensure_ca(tmp_path, "localhost", wall())
    (tmp_path / KEY_FILE).write_bytes(b"x")
    events: list[CertificateEvent] = []

    one = source(tmp_path, events)
    async with one.open():
        assert one.context_for("app.localhost") is None
    (failed,) = events
    assert isinstance(failed, CertificateFailed)
    assert "damaged" in failed.reason
    with pytest.raises(ConfigError, match=r"dev_tls: .*damaged"):
        async with source(tmp_path, events, trusted=True).open():
            pass


def test_what_is_saved_can_be_read_without_creating_anything(tmp_path: Path) -> None:
    one = source(tmp_path, [])

    assert one.load() == []
    assert list(tmp_path.iterdir()) == []
    ensure_ca(tmp_path, "localhost", wall())
    assert [type(event) for event in one.load()] == [CertificateUp]
    (tmp_path / KEY_FILE).write_bytes(b"x")
    assert [type(event) for event in one.load()] == [CertificateFailed]
    one.reload()
