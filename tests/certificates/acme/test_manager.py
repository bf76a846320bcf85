"""The manager against pebble: orders, renewals, outages, and what is left after a crash."""

import asyncio
import signal
import stat
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from portway.certificates.acme.client import HTTP_01, TLS_ALPN_01
from portway.certificates.acme.files import AcmeFiles
from portway.certificates.acme.schedule import IN_FLIGHT_MAX
from portway.certificates.events import CertificateOrdered
from portway.clock import wall
from tests.certificates.acme.kit import empty_source, running
from tests.kit.pebble import Answers, Pebble, challenge_answers, pebble
from tests.kit.programs import SOURCES, Program
from tests.kit.sockets import free_port

ROOT = SOURCES.parent


@pytest.fixture(scope="module")
def answers() -> Iterator[Answers]:
    with challenge_answers(empty_source()) as answers:
        yield answers


@pytest.fixture(scope="module")
def ca(answers: Answers) -> Iterator[Pebble]:
    with pebble(http_port=answers.http_port, tls_port=answers.tls_port) as ca:
        yield ca


def test_a_live_name_gets_a_certificate_that_is_saved_and_served_after_a_restart(ca: Pebble, answers: Answers, tmp_path: Path) -> None:
    name = "app.tunnel.example.org"

    async def first() -> None:
        async with running(ca, tmp_path) as run:
            answers.source = run.source
            assert run.source.context_for(name) is None
            run.manager.certificate_wanted(name, reserved=True)
            await run.until(lambda: run.issued() == [name])

            assert run.source.context_for(name) is not None
            assert run.source.has_trusted(name)
            assert not run.source.has_trusted("other.tunnel.example.org")
            assert run.events[0] == CertificateOrdered("acme", name)
            assert run.source.challenge_context(name) is None, "nothing is answered without an order"

    async def second() -> None:
        async with running(ca, tmp_path) as run:
            assert run.source.has_trusted(name)
            run.manager.certificate_wanted(name, reserved=True)
            await asyncio.sleep(0.3)
            assert run.events == []

    asyncio.run(first())
    asyncio.run(second())
    assert {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "acme").rglob("*") if path.is_file()} == {0o600}


def test_only_names_that_a_token_lists_are_ordered(ca: Pebble, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(ca, tmp_path) as run:
            for name, reserved in (("random.tunnel.example.org", False), ("app.localhost", True), ("single", True), ("10.0.0.1", True)):
                run.manager.certificate_wanted(name, reserved=reserved)
            await asyncio.sleep(0.2)
            assert run.events == []
            assert run.manager.in_flight == 0

    asyncio.run(scenario())


@pytest.mark.parametrize("count", [20, pytest.param(200, marks=pytest.mark.long)])
def test_many_names_claimed_at_once(ca: Pebble, answers: Answers, tmp_path: Path, count: int) -> None:
    names = [f"n{number}.tunnel.example.org" for number in range(count)]

    async def scenario() -> None:
        async with running(ca, tmp_path, any_name=True) as run:
            answers.source = run.source
            for name in names:
                run.manager.certificate_wanted(name, reserved=False)
                run.manager.certificate_wanted(name, reserved=False)
            await run.until(lambda: len(run.issued()) == len(names), 100)

            assert sorted(run.issued()) == sorted(names)
            assert run.failed() == []
            assert run.in_flight_most == IN_FLIGHT_MAX

    asyncio.run(scenario())


@pytest.mark.parametrize("kind", [HTTP_01, TLS_ALPN_01])
def test_half_of_all_nonces_are_rejected(answers: Answers, tmp_path: Path, kind: str) -> None:
    names = [f"n{number}.tunnel.example.org" for number in range(5)]

    async def scenario(ca: Pebble) -> None:
        async with running(ca, tmp_path, kinds=(kind,)) as run:
            answers.source = run.source
            for name in names:
                run.manager.certificate_wanted(name, reserved=True)
            await run.until(lambda: len(run.issued()) + len(run.failed()) == len(names), 60)
            assert run.failed() == []

    with pebble(http_port=answers.http_port, tls_port=answers.tls_port, PEBBLE_WFE_NONCEREJECT="50") as ca:
        asyncio.run(scenario(ca))


class Clock:
    """A clock that can be set forward; it runs in between."""

    ahead = 0.0

    def __call__(self) -> float:
        return wall() + self.ahead


def test_a_ca_that_is_away_during_renewal(answers: Answers, tmp_path: Path) -> None:
    name, clock = "app.tunnel.example.org", Clock()

    async def scenario(ca: Pebble) -> None:
        async with running(ca, tmp_path, clock=clock) as run:
            answers.source = run.source
            run.manager.certificate_wanted(name, reserved=True)
            await run.until(lambda: run.issued() == [name])
            first = run.source.find(name)
            assert first is not None
            life = first.not_after - first.not_before
            await asyncio.to_thread(ca.stop)
            clock.ahead = life * 0.7
            run.manager.wake()
            await run.until(lambda: len(run.failed()) == 1)

            assert "cannot connect to the CA: Connection refused" in run.failed()[0].reason
            assert run.source.has_trusted(name)
            clock.ahead = life * 1.1
            assert not run.source.has_trusted(name)
            assert run.source.context_for(name) is not None, "an expired certificate is better than none"
            clock.ahead = life * 0.7

            await asyncio.to_thread(ca.start)
            clock.ahead = life * 0.7 + 60
            run.manager.wake()
            await run.until(lambda: len(run.failed()) == 2)
            assert "account" in run.failed()[1].reason, "this CA forgets accounts when it stops"
            clock.ahead = life * 0.7 + 180
            run.manager.wake()
            await run.until(lambda: run.issued() == [name, name])
            renewed = run.source.find(name)
            assert renewed is not None
            assert renewed.pem != first.pem

    with pebble(http_port=answers.http_port, tls_port=answers.tls_port) as ca:
        asyncio.run(scenario(ca))


def killed_in(data: Path, ca: Pebble, http_port: int, name: str, step: int, when: str) -> bool:
    """Run an order that kills itself in a step; return False if it has no such step."""
    argv = [sys.executable, "-m", "tests.certificates.acme.dying", data, ca.directory, ca.ca_file, http_port, name, step, when]
    with Program([str(part) for part in argv], env={"PYTHONPATH": f"{SOURCES}:{ROOT}"}) as program:
        finished = program.wait(30)
    assert finished.code == -signal.SIGKILL or finished.out == "issued", program.transcript()
    return finished.code != 0


def completed_after(data: Path, ca: Pebble, http_port: int, name: str) -> None:
    """Check what a killed server left, and that the next one gets the certificate, with the key that the first one had requested it for."""
    files = AcmeFiles.for_ca(data, ca.directory)
    pending, saved = files.order(name), {issued.names[0] for _, issued in files.certificates()}
    for path in (data / "acme").rglob("*"):
        assert path.is_dir() or stat.S_IMODE(path.stat().st_mode) == 0o600

    async def scenario() -> None:
        with challenge_answers(empty_source(), http_port) as answers:
            async with running(ca, data, kinds=(HTTP_01,)) as run:
                answers.source = run.source
                run.manager.certificate_wanted(name, reserved=True)
                if name not in saved:
                    await run.until(lambda: run.issued() == [name])
                issued = run.source.find(name)
                assert issued is not None
                assert run.source.context_for(name) is not None
                if pending is not None:
                    assert pending.key_pem.strip() in issued.pem.decode()
                assert files.order(name) is None

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("when", "steps"), [("after", (8, 9)), *(pytest.param(when, range(100), marks=pytest.mark.long) for when in ("before", "after"))]
)
def test_a_server_killed_in_any_step_of_an_order(
    tmp_path: Path, when: str, steps: Sequence[int], report_measurement: Callable[[str], None]
) -> None:
    http_port, killed = free_port(), 0
    with pebble(http_port=http_port, tls_port=free_port(), PEBBLE_AUTHZREUSE="0") as ca:
        for step in steps:
            data, name = tmp_path / str(step), f"n{step}.tunnel.example.org"
            if not killed_in(data, ca, http_port, name, step, when):
                break
            killed += 1
            completed_after(data, ca, http_port, name)
    report_measurement(f"killed {when} each of {killed} steps")
    assert killed == len(steps) or killed > 10
