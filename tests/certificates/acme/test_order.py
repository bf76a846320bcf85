"""Orders against pebble: DNS-01 by a program, authorizations that are reused, external accounts, refusals."""

import asyncio
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509

from portway.certificates.acme.client import DNS_01, HTTP_01, AcmeClient, ExternalAccount, read_external_account
from portway.certificates.acme.dns_records import HookRecords
from portway.certificates.acme.failures import OrderFailed
from portway.certificates.acme.files import AcmeFiles
from portway.certificates.acme.manager import LocalPublisher
from portway.certificates.acme.order import Orderer, OrderPlan
from portway.clock import wall
from portway.errors import ConfigError
from tests.certificates.acme.kit import EMAIL, empty_source, running
from tests.kit.pebble import Answers, Pebble, challenge_answers, pebble

HOOK = """#!{python}
import json, sys, urllib.request
action, name, value = sys.argv[1:]
with open("{log}", "a") as log:
    print(action, name, file=log)
path, body = ("/set-txt", {{"host": name + ".", "value": value}}) if action == "add" else ("/clear-txt", {{"host": name + "."}})
urllib.request.urlopen(urllib.request.Request("{management}" + path, json.dumps(body).encode()), timeout=10).close()
"""


@pytest.fixture(scope="module")
def answers() -> Iterator[Answers]:
    with challenge_answers(empty_source()) as answers:
        yield answers


@pytest.fixture(scope="module")
def ca(answers: Answers) -> Iterator[Pebble]:
    with pebble(http_port=answers.http_port, tls_port=answers.tls_port, PEBBLE_AUTHZREUSE="100") as ca:
        yield ca


def orderer_of(ca: Pebble, data: Path, answers: Answers, external: ExternalAccount | None = None) -> Orderer:
    files, source = AcmeFiles.for_ca(data, ca.directory), empty_source()
    answers.source = source

    def make_client() -> AcmeClient:
        return AcmeClient(files, ca.directory, email=EMAIL, ca_file=ca.ca_file, external=external)

    return Orderer(files, make_client, LocalPublisher(source), None, wall)


def test_one_wildcard_by_dns_01_serves_every_name_of_the_domain(ca: Pebble, tmp_path: Path) -> None:
    hook, calls = tmp_path / "hook", tmp_path / "calls"
    hook.write_text(HOOK.format(python=sys.executable, log=calls, management=ca.dns.management))
    hook.chmod(0o755)

    async def scenario() -> None:
        async with running(ca, tmp_path / "data", records=HookRecords(hook)) as run:
            run.manager.certificate_wanted("app.tunnel.example.org", reserved=True)
            run.manager.certificate_wanted("brave-otter.tunnel.example.org", reserved=False)
            await run.until(lambda: run.issued() == ["*.tunnel.example.org"])

            assert run.source.has_trusted("app.tunnel.example.org")
            assert run.source.has_trusted("tunnel.example.org")
            assert not run.source.has_trusted("a.b.tunnel.example.org")
            assert len(run.events) == 2, "one order and one certificate"

    asyncio.run(scenario())
    record = "_acme-challenge.tunnel.example.org"
    assert sorted(calls.read_text().splitlines()) == [f"add {record}"] * 2 + [f"remove {record}"] * 2


def test_a_failed_program_is_reported_and_the_next_attempt_is_known(ca: Pebble, tmp_path: Path) -> None:
    hook = tmp_path / "hook"
    hook.write_text("#!/bin/sh\necho no such zone >&2\nexit 4\n")
    hook.chmod(0o755)

    async def scenario() -> None:
        async with running(ca, tmp_path / "data", records=HookRecords(hook)) as run:
            await run.until(lambda: len(run.failed()) == 1)
            failed = run.failed()[0]
            assert failed.id == "*.tunnel.example.org"
            assert failed.reason.startswith("acme_dns_hook: exit code 4: no such zone (")
            assert failed.next_attempt is not None
            assert 55 < failed.next_attempt - wall() < 70
            saved = await asyncio.to_thread(run.files.failures)
            assert [one.name for one in saved] == ["*.tunnel.example.org"] or run.manager.in_flight == 0

    asyncio.run(scenario())


def test_a_server_that_stops_does_not_wait_for_its_orders(ca: Pebble, tmp_path: Path) -> None:
    hook = tmp_path / "hook"
    hook.write_text(f"#!/bin/sh\ntouch {tmp_path}/called\nexec sleep 3\n")
    hook.chmod(0o755)

    async def scenario() -> float:
        async with running(ca, tmp_path / "data", records=HookRecords(hook)):
            while not (tmp_path / "called").exists():  # noqa: ASYNC110 - a program creates it
                await asyncio.sleep(0.02)
            stopped_at = asyncio.get_running_loop().time()
        return asyncio.get_running_loop().time() - stopped_at

    assert asyncio.run(scenario()) < 1


def test_a_name_that_was_checked_before_needs_no_challenge(ca: Pebble, answers: Answers, tmp_path: Path) -> None:
    plan = OrderPlan("reused.example.org", ("reused.example.org",), (HTTP_01,))

    async def scenario() -> None:
        orderer = orderer_of(ca, tmp_path, answers)
        first = await orderer.obtain(plan)
        requests = answers.http_requests
        second = await orderer.obtain(plan)
        orderer.close()
        assert first.pem != second.pem
        assert answers.http_requests == requests

    asyncio.run(scenario())


def test_a_check_that_fails_says_why(ca: Pebble, answers: Answers, tmp_path: Path) -> None:
    async def scenario() -> None:
        orderer = orderer_of(ca, tmp_path, answers)
        answers.source = empty_source()  # answers nothing
        with pytest.raises(OrderFailed, match="the CA received another response than that of this server: .*404"):
            await orderer.obtain(OrderPlan("lost.example.org", ("lost.example.org",), (HTTP_01,)))
        with pytest.raises(OrderFailed, match=r"the CA offers only dns-01 for lost.example.org: expected http-01"):
            await orderer.obtain(OrderPlan("*.lost.example.org", ("*.lost.example.org",), (HTTP_01,)))
        with pytest.raises(OrderFailed, match="give --acme-dns-hook"):
            await orderer.obtain(OrderPlan("*.lost.example.org", ("*.lost.example.org",), (DNS_01,)))
        orderer.close()

    asyncio.run(scenario())


def test_a_ca_that_requires_an_external_account(answers: Answers, tmp_path: Path) -> None:
    key = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"
    plan = OrderPlan("eab.example.org", ("eab.example.org",), (HTTP_01,))
    file = tmp_path / "eab"
    file.write_text(f"kid-1\n{key}\n")
    file.chmod(0o600)

    async def scenario(ca: Pebble) -> None:
        without = orderer_of(ca, tmp_path / "a", answers)
        with pytest.raises(
            OrderFailed, match="no account at the CA: the CA requires an external account: give its key id and HMAC key with --acme-eab"
        ):
            await without.obtain(plan)
        without.close()
        wrong = orderer_of(ca, tmp_path / "b", answers, ExternalAccount("kid-1", key[:-8]))
        with pytest.raises(OrderFailed, match="no account at the CA: external account binding JWS"):
            await wrong.obtain(plan)
        wrong.close()
        right = orderer_of(ca, tmp_path / "c", answers, read_external_account(file))
        issued = await right.obtain(plan)
        right.close()
        assert issued.names == ("eab.example.org",)

    with pebble(http_port=answers.http_port, tls_port=answers.tls_port, external_accounts={"kid-1": key}) as ca:
        asyncio.run(scenario(ca))


@pytest.mark.parametrize("content", ["", "kid", "a b c", "kid kékékéké", "kid key+/key+/"])
def test_a_file_of_an_external_account_with_other_content(tmp_path: Path, content: str) -> None:
    file = tmp_path / "eab"
    file.write_text(content)
    file.chmod(0o600)

    with pytest.raises(ConfigError, match="acme_eab: .*expected two words"):
        read_external_account(file)
    file.chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        read_external_account(file)
    with pytest.raises(ConfigError, match="does not exist"):
        read_external_account(tmp_path / "missing")


def test_the_chain_leads_to_the_ca(ca: Pebble, answers: Answers, tmp_path: Path) -> None:
    async def scenario() -> bytes:
        orderer = orderer_of(ca, tmp_path, answers)
        issued = await orderer.obtain(OrderPlan("chain.example.org", ("chain.example.org",), (HTTP_01,)))
        orderer.close()
        return issued.pem

    leaf, intermediate = x509.load_pem_x509_certificates(asyncio.run(scenario()))
    [root] = x509.load_pem_x509_certificates(ca.issuing_root())

    leaf.verify_directly_issued_by(intermediate)
    intermediate.verify_directly_issued_by(root)
    assert {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "acme").iterdir() if path.is_dir()} == {0o700}
