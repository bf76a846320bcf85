"""Suggested times of renewal (RFC 9773), against a newer pebble than Debian's: `go install github.com/letsencrypt/pebble/v2/cmd/pebble@latest`."""

import asyncio
import datetime as dt
import json
import ssl
import urllib.request
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from portway.certificates.acme.client import AcmeClient
from portway.certificates.acme.files import AcmeFiles
from portway.certificates.events import CertificateOrdered, CertificateUp
from portway.clock import wall
from tests.certificates.acme.kit import EMAIL, empty_source, running
from tests.kit.pebble import Pebble, challenge_answers, pebble


def suggest(ca: Pebble, pem: bytes, start: float, end: float) -> None:
    """Let the CA suggest a window for a certificate."""
    window = {"start": stamp(start), "end": stamp(end)}
    certificate = x509.load_pem_x509_certificates(pem)[0].public_bytes(Encoding.PEM).decode()
    body = {"certificate": certificate, "ariResponse": json.dumps({"suggestedWindow": window})}
    request = urllib.request.Request(f"{ca.management}/set-renewal-info/", json.dumps(body).encode())
    urllib.request.urlopen(request, context=ssl.create_default_context(cafile=str(ca.ca_file)), timeout=10).close()


def stamp(seconds: float) -> str:
    return dt.datetime.fromtimestamp(seconds, dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def test_a_certificate_is_renewed_when_the_ca_suggests_it(tmp_path: Path) -> None:
    name = "app.tunnel.example.org"

    async def scenario(ca: Pebble) -> None:
        files = AcmeFiles.for_ca(tmp_path / "probe", ca.directory)
        client = AcmeClient(files, ca.directory, email=EMAIL, ca_file=ca.ca_file)
        await asyncio.to_thread(client.log_in)
        offered = client.offers_renewal_info
        client.close()
        if not offered:
            pytest.skip("this pebble does not offer renewalInfo; a newer one does")
        async with running(ca, tmp_path) as run:
            answers.source = run.source
            run.manager.certificate_wanted(name, reserved=True)
            await run.until(lambda: run.issued() == [name])
            first = run.source.find(name)
            assert first is not None
            await asyncio.to_thread(suggest, ca, first.pem, wall() - 7200, wall() - 3600)
        async with running(ca, tmp_path) as run:
            answers.source = run.source
            run.manager.certificate_wanted(name, reserved=True)
            await run.until(
                lambda: [type(event) for event in run.events] == [CertificateOrdered, CertificateUp] and run.manager.in_flight == 0
            )
            assert run.events[0] == CertificateOrdered("acme", name, renewal=True)
            assert run.source.find(name) != first

    with challenge_answers(empty_source()) as answers, pebble(http_port=answers.http_port, tls_port=answers.tls_port) as ca:
        asyncio.run(scenario(ca))
