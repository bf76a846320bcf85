"""Makes every worker answer challenges and serve new certificates: a CA's connection may reach any of them."""

import asyncio

from portway.certificates.certificate import Certificate
from portway.server.workers.lease_coordinator import WorkerMessenger
from portway.server.workers.messages import CertificateAwaited, CertificateIssued, ChallengeEnded, ChallengePending
from portway.telemetry.logs import get_log

ACK_S_MAX = 2.0
"""How long an order waits until every worker answers a challenge; a worker in the middle of a batch takes 5 ms."""

log = get_log(__name__)


class WorkerCertificatePublisher:
    """Sends challenges and certificates to the workers (see `acme.manager.CertificatePublisher`).

    A worker that starts reads saved certificates itself; pending challenges are sent to it before it serves.
    """

    def __init__(self, workers: WorkerMessenger) -> None:
        """Begin without challenges."""
        self._workers = workers
        self._pending: dict[str, list[ChallengePending]] = {}
        self._awaited: dict[str, None] = {}
        self._seq = 0
        self._acked: dict[int, int] = {}
        """Worker → the last challenge that it answers."""
        self._waiters: dict[asyncio.Future[None], int] = {}

    def install(self, issued: Certificate) -> None:
        """Make all workers serve a certificate."""
        for worker in self._workers.numbers():
            self._workers.send(worker, CertificateIssued(issued.pem))

    def set_ordered(self, name: str, ordered: bool) -> None:
        """Let visitors of all workers wait for the first certificate of a name, or no longer."""
        if ordered == (name in self._awaited):
            return
        if ordered:
            self._awaited[name] = None
        else:
            del self._awaited[name]
        for worker in self._workers.numbers():
            self._workers.send(worker, CertificateAwaited(name, ordered))

    async def answer_http(self, name: str, token: str, body: str) -> None:
        """Make all workers answer HTTP-01."""
        await self._publish(name, token, body, b"")

    async def answer_alpn(self, name: str, pem: bytes) -> None:
        """Make all workers answer TLS-ALPN-01."""
        await self._publish(name, "", "", pem)

    def clear(self, name: str) -> None:
        """Make all workers answer no more challenges for a name."""
        self._pending.pop(name, None)
        for worker in self._workers.numbers():
            self._workers.send(worker, ChallengeEnded(name))

    def on_started(self, worker: int) -> None:
        """Send the pending challenges to a new worker."""
        self._acked[worker] = 0
        for name in self._awaited:
            self._workers.send(worker, CertificateAwaited(name, True))
        for messages in self._pending.values():
            for message in messages:
                self._workers.send(worker, message)

    def on_ack(self, worker: int, seq: int) -> None:
        """Record that a worker answers challenges up to `seq`."""
        self._acked[worker] = seq
        self._check()

    def on_lost(self, worker: int) -> None:
        """Wait no longer for a lost worker."""
        self._acked.pop(worker, None)
        self._check()

    async def _publish(self, name: str, token: str, body: str, pem: bytes) -> None:
        self._seq += 1
        message = ChallengePending(self._seq, name, token, body, pem)
        self._pending.setdefault(name, []).append(message)
        for worker in self._workers.numbers():
            self._workers.send(worker, message)
        await self._until_acked(self._seq)

    async def _until_acked(self, seq: int) -> None:
        """Wait until every worker that serves has acknowledged a challenge, at most ACK_S_MAX."""
        if self._all_acked(seq):
            return
        acked: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters[acked] = seq
        try:
            async with asyncio.timeout(ACK_S_MAX):
                await acked
        except TimeoutError:
            log.warning("challenge not acknowledged in time", behind=[worker for worker, last in self._acked.items() if last < seq])
        finally:
            del self._waiters[acked]

    def _all_acked(self, seq: int) -> bool:
        return all(self._acked.get(worker, 0) >= seq for worker in self._workers.serving())

    def _check(self) -> None:
        for acked, seq in self._waiters.items():
            if not acked.done() and self._all_acked(seq):
                acked.set_result(None)
