"""Challenges and certificates reach every worker, also one that starts later."""

import asyncio
import socket
from collections.abc import Iterable
from pathlib import Path

from portway.certificates.acme.pem import challenge_pem
from portway.certificates.certificate import parse_bundle
from portway.server.workers import certificate_publisher
from portway.server.workers.certificate_publisher import WorkerCertificatePublisher
from portway.server.workers.messages import CertificateAwaited, CertificateIssued, ChallengeEnded, ChallengePending, ToWorker


class Workers:
    """Two workers whose messages are recorded."""

    def __init__(self) -> None:
        self.sent: list[tuple[int, ToWorker]] = []
        self.ready = {1, 2}

    def send(self, worker: int, message: ToWorker, *socks: socket.socket) -> bool:
        self.sent.append((worker, message))
        return True

    def numbers(self) -> Iterable[int]:
        return (1, 2)

    def serving(self) -> Iterable[int]:
        return self.ready


def test_a_challenge_waits_until_every_worker_answers_it() -> None:
    async def scenario() -> None:
        workers = Workers()
        publisher = WorkerCertificatePublisher(workers)
        publisher.on_started(1)
        publisher.on_started(2)
        task = asyncio.ensure_future(publisher.answer_http("app.example.org", "token", "body"))
        await asyncio.sleep(0)
        assert workers.sent == [(worker, ChallengePending(1, "app.example.org", "token", "body", b"")) for worker in (1, 2)]
        publisher.on_ack(1, 1)
        await asyncio.sleep(0)
        assert not task.done()
        publisher.on_ack(2, 1)
        await asyncio.wait_for(task, 1)

    asyncio.run(scenario())


def test_a_lost_or_slow_worker_does_not_stop_an_order() -> None:
    async def scenario() -> None:
        workers = Workers()
        publisher = WorkerCertificatePublisher(workers)
        publisher.on_started(1)
        publisher.on_started(2)
        publisher.on_ack(1, 5)
        task = asyncio.ensure_future(publisher.answer_alpn("app.example.org", b"pem"))
        await asyncio.sleep(0)
        assert not task.done()
        workers.ready = {1}
        publisher.on_lost(2)
        await asyncio.wait_for(task, 1)
        workers.ready = {1, 3}
        started = asyncio.get_running_loop().time()
        await publisher.answer_alpn("app.example.org", b"pem")
        assert asyncio.get_running_loop().time() - started < 2 * certificate_publisher.ACK_S_MAX

    asyncio.run(scenario())


def test_a_worker_that_starts_gets_pending_challenges_only() -> None:
    async def scenario() -> None:
        workers = Workers()
        workers.ready = set()
        publisher = WorkerCertificatePublisher(workers)
        await publisher.answer_http("a.example.org", "token", "body")
        await publisher.answer_alpn("b.example.org", b"pem")
        publisher.clear("a.example.org")
        assert workers.sent[-2:] == [(1, ChallengeEnded("a.example.org")), (2, ChallengeEnded("a.example.org"))]
        del workers.sent[:]
        publisher.on_started(7)
        assert workers.sent == [(7, ChallengePending(2, "b.example.org", "", "", b"pem"))]

    asyncio.run(scenario())


def test_a_certificate_is_sent_to_all_workers(tmp_path: Path) -> None:
    workers, issued = Workers(), parse_bundle(challenge_pem("app.example.org", "x"))

    WorkerCertificatePublisher(workers).install(issued)

    assert workers.sent == [(worker, CertificateIssued(issued.pem)) for worker in (1, 2)]
    assert "PRIVATE" not in repr(workers.sent)
    assert "PRIVATE" not in repr(ChallengePending(1, "a", "", "", issued.pem))


def test_names_that_visitors_wait_for_are_known_to_every_worker_also_a_new_one() -> None:
    workers = Workers()
    publisher = WorkerCertificatePublisher(workers)
    for ordered in (True, True, False, False):
        publisher.set_ordered("app.example.org", ordered)
    assert workers.sent == [(worker, CertificateAwaited("app.example.org", ordered)) for ordered in (True, False) for worker in (1, 2)]
    workers.sent.clear()
    publisher.set_ordered("new.example.org", True)
    workers.sent.clear()
    publisher.on_started(3)
    assert workers.sent == [(3, CertificateAwaited("new.example.org", True))]
