"""Certificates and challenges of a process."""

import asyncio
import ssl
from pathlib import Path

from portway.certificates.acme.files import AcmeFiles
from portway.certificates.acme.pem import challenge_pem
from portway.certificates.acme.source import AcmeSource
from portway.certificates.certificate import parse_bundle
from portway.certificates.contexts import CONTEXT_S_MAX
from portway.certificates.events import CertificateUp
from portway.clock import wall
from portway.server.events import ServerEvent
from tests.certificates.acme.kit import ignore

NOW = 1_800_000_000.0


def source_with(clock: "Clock") -> AcmeSource:
    return AcmeSource(AcmeFiles(Path("/nonexistent")), ignore, clock)


class Clock:
    now = NOW

    def __call__(self) -> float:
        return self.now


def test_a_wildcard_serves_one_label_and_an_exact_name_comes_first() -> None:
    source, wildcard, exact = source_with(Clock()), challenge_pem("*.example.org", "x"), challenge_pem("app.example.org", "x")
    source.install(parse_bundle(wildcard))
    source.install(parse_bundle(exact))

    found = {name: source.find(name) for name in ("app.example.org", "b.example.org", "a.b.example.org", "example.org", "*.example.org")}

    assert {name: issued and issued.pem[-100:] for name, issued in found.items()} == {
        "app.example.org": parse_bundle(exact).pem[-100:],
        "b.example.org": parse_bundle(wildcard).pem[-100:],
        "a.b.example.org": None,
        "example.org": None,
        "*.example.org": parse_bundle(wildcard).pem[-100:],
    }
    assert len(list(source.all())) == 2


def test_an_expired_certificate_is_served_but_not_trusted() -> None:
    clock, issued = Clock(), parse_bundle(challenge_pem("app.example.org", "x"))
    source = source_with(clock)
    source.install(issued)
    clock.now = issued.not_after - 1
    assert source.has_trusted("app.example.org")

    clock.now = issued.not_after

    assert not source.has_trusted("app.example.org")
    assert source.context_for("app.example.org") is not None


def test_contexts_last_a_day_and_a_new_certificate_replaces_them() -> None:
    clock = Clock()
    source = source_with(clock)
    source.install(parse_bundle(challenge_pem("app.example.org", "x")))
    first = source.context_for("app.example.org")

    assert source.context_for("app.example.org") is first
    clock.now += CONTEXT_S_MAX
    second = source.context_for("app.example.org")
    assert second is not first
    source.install(parse_bundle(challenge_pem("app.example.org", "x")))
    assert source.context_for("app.example.org") not in (first, second)
    assert source.context_for("other.example.org") is None


def test_challenges_are_answered_for_their_name_and_token_only() -> None:
    source = source_with(Clock())
    source.set_http_challenge("app.example.org", "token", "token.thumbprint")
    source.set_alpn_challenge("app.example.org", challenge_pem("app.example.org", "token.thumbprint"))

    assert source.http_challenge("app.example.org", "token") == b"token.thumbprint"
    assert source.http_challenge("app.example.org", "other") is None
    assert source.http_challenge("other.example.org", "token") is None
    assert isinstance(source.challenge_context("app.example.org"), ssl.SSLContext)
    assert source.challenge_context("other.example.org") is None
    source.clear_challenges("app.example.org")
    assert source.http_challenge("app.example.org", "token") is None
    assert source.challenge_context("app.example.org") is None


def test_saved_certificates_are_loaded_and_reported(tmp_path: Path) -> None:
    files, issued, events = (
        AcmeFiles.for_ca(tmp_path, "https://ca.example.org/"),
        parse_bundle(challenge_pem("app.example.org", "x")),
        list[ServerEvent](),
    )
    files.save_certificate("app.example.org", issued)
    source = AcmeSource(files, events.append, wall)

    async def scenario() -> None:
        async with source.open():
            source.reload()
            assert source.find("app.example.org") == issued

    asyncio.run(scenario())
    [event] = events
    assert isinstance(event, CertificateUp)
    assert (event.source, event.id, event.names, event.not_after) == ("acme", "app.example.org", issued.names, issued.not_after)
    assert event.next_attempt is not None
    assert issued.not_before < event.next_attempt < issued.not_after
