"""One order from its beginning to the saved certificate. Each step blocks in a thread; the waiting between steps does not."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from portway.certificates.acme.client import DNS_01, HTTP_01, TLS_ALPN_01, AcmeClient, Authorization, Challenge, Order
from portway.certificates.acme.dns_records import DnsRecords
from portway.certificates.acme.failures import OrderFailed, Scope
from portway.certificates.acme.files import AcmeFiles, PendingOrder
from portway.certificates.acme.pem import challenge_pem, new_key_pem, request_pem
from portway.certificates.acme.serial_thread import SerialThread
from portway.certificates.certificate import Certificate, parse_bundle
from portway.clock import Clock
from portway.errors import ConfigError, UnavailableError
from portway.telemetry.logs import get_log

T = TypeVar("T")

STEP_S_MAX = 120.0
"""Deadline of one step, with those of other orders before it: a request takes at most 30 s (`network.REQUEST_S_MAX`)."""

DNS_STEP_S_MAX = 300.0
"""Deadline of one change of a TXT record: a program has 120 s (`dns_records.HOOK_S_MAX`), and the change of another order may come first."""

ORDER_S_MAX = 900.0
"""Deadline of an order as a whole; the next attempt begins with a new one."""

POLL_S_MIN, POLL_FACTOR, POLL_S_MAX = 0.4, 1.6, 5.0
"""Delay between two questions whether the CA is ready, if it sends no Retry-After; a check takes it 1 to 10 s."""

RETRY_AFTER_S_MAX = 60.0
"""A longer Retry-After between two questions is cut: challenges stay pending meanwhile."""

log = get_log(__name__)


class ChallengePublisher(Protocol):
    """Makes all processes that a CA may reach answer a challenge."""

    async def answer_http(self, name: str, token: str, body: str) -> None:
        """Answer HTTP-01; return when every process does."""

    async def answer_alpn(self, name: str, pem: bytes) -> None:
        """Answer TLS-ALPN-01 with the certificate in `pem`; return when every process does."""

    def clear(self, name: str) -> None:
        """Answer no more challenges for a name."""


@dataclass(frozen=True, slots=True)
class OrderPlan:
    """What to order, and how to prove control."""

    name: str
    """The name that it is saved under."""
    names: tuple[str, ...]
    kinds: Sequence[str]
    """Kinds of challenges, in the order of preference."""
    replaces: str | None = None
    """Id of the certificate that it renews."""


class Orderer:
    """Runs orders; many at a time share one thread for the CA, and one for DNS."""

    def __init__(
        self,
        files: AcmeFiles,
        make_client: Callable[[], AcmeClient],
        publisher: ChallengePublisher,
        records: DnsRecords | None,
        clock: Clock,
    ) -> None:
        """`records` is required for DNS-01 only."""
        self._files = files
        self._make_client = make_client
        self._client = make_client()
        self._publisher = publisher
        self._records = records
        self._clock = clock
        self._thread = SerialThread("requests to the CA")
        self._dns_thread = SerialThread("changes of DNS records")

    def close(self) -> None:
        """Let the threads end."""
        self._thread.close()
        self._dns_thread.close()

    async def run(self, call: Callable[[AcmeClient], T]) -> T:
        """Run a step in the CA's thread.

        Raises:
            OrderFailed: with the reason.
        """
        client = self._client
        try:
            return await self._thread.run(lambda: call(client), STEP_S_MAX)
        except OrderFailed:
            raise
        except ConfigError as exc:
            raise OrderFailed(Scope.CA, str(exc)) from exc
        except UnavailableError as exc:
            if self._client is client:
                self._client = self._make_client()  # the abandoned thread may still use the other one
            raise OrderFailed(Scope.CA, str(exc)) from exc
        except Exception as exc:
            log.warning("response of the CA not understood", reason=repr(exc))
            raise OrderFailed(Scope.CA, f"unexpected response of the CA: {exc!r}") from exc

    async def obtain(self, plan: OrderPlan) -> Certificate:
        """Order a certificate, or complete the order that a killed server began, and save it.

        Raises:
            OrderFailed: with the reason.
        """
        try:
            async with asyncio.timeout(ORDER_S_MAX):
                issued = await self._resume(plan)
                return issued or await self._order(plan)
        except TimeoutError:
            raise OrderFailed(Scope.CA, f"the order was not complete after {ORDER_S_MAX:g} s") from None

    async def _resume(self, plan: OrderPlan) -> Certificate | None:
        pending = await self.run(lambda _: self._files.order(plan.name))
        if pending is None:
            return None
        if pending.names == plan.names:
            try:
                order = await self.run(lambda client: client.order(pending.uri))
                if order.status in ("ready", "processing", "valid"):
                    return await self._complete(plan, order, pending)
            except OrderFailed as failed:
                if failed.scope is not Scope.NAME:
                    raise
        await self.run(lambda _: self._files.forget_order(plan.name))
        return None

    async def _order(self, plan: OrderPlan) -> Certificate:
        order = await self.run(lambda client: client.new_order(plan.names, plan.replaces))
        answered: list[tuple[str, Challenge]] = []
        try:
            urls = []
            for url in order.authorizations:
                authorization = await self.run(lambda client, url=url: client.authorization(url))  # type: ignore[misc]
                if authorization.status == "valid":
                    continue  # checked for an earlier order
                urls.append(url)
                if authorization.status == "pending":
                    challenge = _choose(authorization, plan.kinds)
                    answered.append((authorization.name, challenge))
                    await self._answer(authorization.name, challenge)
            for _, challenge in answered:
                await self.run(lambda client, challenge=challenge: client.accept(challenge))  # type: ignore[misc]
            for url in urls:
                await self._until_checked(url)
        finally:
            await self._clear(answered)
        key_pem = new_key_pem()
        pending = PendingOrder(order.url, plan.names, key_pem.decode("ascii"))
        await self.run(lambda _: self._files.save_order(plan.name, pending))
        return await self._complete(plan, order, pending)

    async def _answer(self, name: str, challenge: Challenge) -> None:
        if challenge.kind == HTTP_01:
            await self._publisher.answer_http(name, challenge.token, challenge.key_authorization)
        elif challenge.kind == TLS_ALPN_01:
            await self._publisher.answer_alpn(name, challenge_pem(name, challenge.key_authorization))
        else:
            await self._change_dns("add", name, challenge)

    async def _clear(self, answered: Sequence[tuple[str, Challenge]]) -> None:
        for name, challenge in answered:
            if challenge.kind != DNS_01:
                self._publisher.clear(name)
                continue
            if (task := asyncio.current_task()) is not None and task.cancelling():
                log.warning("TXT record not removed, because the server stops", name=f"_acme-challenge.{name}")
                continue  # a program may take minutes
            try:
                await self._change_dns("remove", name, challenge)
            except OrderFailed as failed:
                log.warning("TXT record not removed", name=f"_acme-challenge.{name}", reason=failed)

    async def _change_dns(self, action: str, name: str, challenge: Challenge) -> None:
        if self._records is None:
            raise OrderFailed(Scope.NAME, "the CA requires DNS-01: give --acme-dns-hook or --acme-dns-server")
        change = self._records.add if action == "add" else self._records.remove
        try:
            await self._dns_thread.run(lambda: change(f"_acme-challenge.{name}", challenge.dns_value), DNS_STEP_S_MAX)
        except OrderFailed:
            raise
        except UnavailableError as exc:
            raise OrderFailed(Scope.NAME, str(exc)) from exc

    async def _until_checked(self, url: str) -> None:
        """Wait until the CA has checked a name."""
        delay = POLL_S_MIN
        while True:
            authorization = await self.run(lambda client: client.authorization(url))
            if authorization.status == "valid":
                return
            if authorization.status not in ("pending", "processing"):
                raise authorization.failure or OrderFailed(Scope.NAME, f"the CA's check of the name is {authorization.status}")
            delay = await _pause(delay, authorization.retry_after_s)

    async def _complete(self, plan: OrderPlan, order: Order, pending: PendingOrder) -> Certificate:
        """Request the certificate of a checked order, wait for it, and save it."""
        key_pem = pending.key_pem.encode("ascii")
        csr = request_pem(key_pem, plan.names)
        delay, requested = POLL_S_MIN, False
        while True:
            order = await self.run(lambda client, url=order.url: client.order(url))  # type: ignore[misc]
            if order.status == "ready" and not requested:
                order = await self.run(lambda client, order=order: client.finalize(order, csr))  # type: ignore[misc]
                requested = True
            if order.status == "valid" and order.certificate_url:
                break
            if order.status == "invalid":
                await self.run(lambda _: self._files.forget_order(plan.name))
                raise order.failure or OrderFailed(Scope.NAME, "the CA made the order invalid, without a reason")
            delay = await _pause(delay, order.retry_after_s)
        chain = await self.run(lambda client: client.download(order))
        try:
            issued = parse_bundle(chain.strip() + b"\n" + key_pem)
        except ConfigError as exc:
            raise OrderFailed(Scope.CA, f"unexpected response of the CA: {exc}") from exc
        missing = set(plan.names) - set(issued.names)
        if missing or issued.not_after <= self._clock():
            await self.run(lambda _: self._files.forget_order(plan.name))
            raise OrderFailed(Scope.CA, f"the CA's certificate {f'lacks {min(missing)}' if missing else 'has expired already'}")
        await self.run(lambda _: self._files.save_certificate(plan.name, issued))
        return issued


def _choose(authorization: Authorization, kinds: Sequence[str]) -> Challenge:
    """Return the preferred one of the challenges that the CA offers."""
    for kind in kinds:
        for challenge in authorization.challenges:
            if challenge.kind == kind:
                return challenge
    offered = ", ".join(challenge.kind for challenge in authorization.challenges) or "none that is known"
    raise OrderFailed(Scope.NAME, f"the CA offers only {offered} for {authorization.name}: expected {' or '.join(kinds)}")


async def _pause(delay_s: float, retry_after_s: float | None) -> float:
    """Sleep before the next question; return the delay for the one after it."""
    await asyncio.sleep(delay_s if retry_after_s is None else min(max(retry_after_s, POLL_S_MIN), RETRY_AFTER_S_MAX))
    return min(delay_s * POLL_FACTOR, POLL_S_MAX)
