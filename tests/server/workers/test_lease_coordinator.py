"""The one registry of a server with workers: which worker gets which message, in which order, and what is awaited."""

import asyncio
import secrets
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from portway.config.values import PortRange
from portway.engine.reactor import Reactor
from portway.protocol.control.messages import AccessRules, Claim, ExchangeLimits, Granted, HeadRewrite, Refused
from portway.protocol.scram import make_verifier
from portway.server.access.tokens import Grants, TokenRecord
from portway.server.events import LeaseDown, LeaseUp, ServerEvent
from portway.server.settings import ServerSettings
from portway.server.storage.token_reader import TokenReader
from portway.server.storage.token_store import FILE, Store
from portway.server.tunnels.addresses import PublicAddresses
from portway.server.workers import lease_coordinator as leases_module
from portway.server.workers import messages as m
from portway.server.workers.lease_coordinator import LeaseCoordinator
from tests.kit.sockets import free_port

APP = Claim(id=1, kind="http", name="app")
DEADLINE_S = 5.0


class RecordingWorkers:
    """Records messages to workers, whose replies the test controls."""

    def __init__(self) -> None:
        self.there = [1, 2]
        self.told: list[tuple[int, m.ToWorker]] = []
        self.quick = {1, 2}
        """Workers that acknowledge a route at once."""
        self.alive: dict[str, bool] = {}
        """Session → reply to its probes; a missing one is not answered."""
        self.leases: LeaseCoordinator

    def send(self, worker: int, message: m.ToWorker, *socks: socket.socket) -> bool:
        if worker not in self.there:
            return False
        self.told.append((worker, message))
        for sock in socks:
            sock.close()
        if isinstance(message, m.RouteChanged | m.RouteRemoved) and worker in self.quick:
            self.later(worker, m.RouteAck(message.seq))
        elif isinstance(message, m.Probe) and message.session in self.alive:
            self.later(worker, m.Probed(message.id, self.alive[message.session]))
        return True

    def later(self, worker: int, message: m.LeaseMessage) -> None:
        asyncio.get_running_loop().call_soon(self.leases.on_message, worker, message)

    def numbers(self) -> list[int]:
        return self.there

    def serving(self) -> list[int]:
        return self.there

    def of(self, kind: type) -> list[tuple[int, m.ToWorker]]:
        return [(worker, message) for worker, message in self.told if isinstance(message, kind)]

    def reply_to(self, number: int) -> Granted | Refused | None:
        """Return what a claim was answered, to the worker that had asked."""
        answers = [message for _, message in self.told if isinstance(message, m.ClaimResponse) and message.id == number]
        assert answers, self.told
        return answers[0].reply


class Setup:
    """Leases, and all that takes part."""

    def __init__(self, reactor: Reactor, tasks: asyncio.TaskGroup, store: Store, tokens: TokenReader, folder: Path) -> None:
        self.workers, self.store, self.events, self.claims_sent = RecordingWorkers(), store, list[ServerEvent](), 0
        self.port = free_port()
        self.leases = self.workers.leases = LeaseCoordinator(
            reactor,
            self.workers,
            tokens,
            ServerSettings(data=folder, tcp_ports=PortRange(self.port, self.port)),
            tasks,
            addresses=PublicAddresses("localhost", frozenset(), 8080, "127.0.0.1", https_port=8443),
            first_epoch=1,
            on_event=self.events.append,
            clock=lambda: 1000.0,
        )
        for worker in (1, 2):
            self.leases.on_started(worker)
        self.token("t")

    def token(self, name: str) -> None:
        verifier = make_verifier("x" * 22, secrets.token_bytes(16))
        self.store.create_token(TokenRecord(id=name, name=name, verifier=verifier, grants=Grants(), created_at=1.0))

    def ask(self, worker: int, session: str, claim: Claim = APP, *, token: str = "t", identity: bytes = b"i") -> int:
        self.claims_sent += 1
        self.leases.on_message(worker, m.ClaimRequest(self.claims_sent, session, token, identity, claim))
        return self.claims_sent

    async def claim(
        self, worker: int, session: str, claim: Claim = APP, *, token: str = "t", identity: bytes = b"i"
    ) -> Granted | Refused | None:
        number = self.ask(worker, session, claim, token=token, identity=identity)
        await self.until(lambda: any(isinstance(said, m.ClaimResponse) and said.id == number for _, said in self.workers.told))
        return self.workers.reply_to(number)

    async def until(self, wanted: Callable[[], bool]) -> None:
        async with asyncio.timeout(DEADLINE_S):
            while not wanted():  # noqa: ASYNC110 - the condition is about messages sent, and about files
                await asyncio.sleep(0.005)


@asynccontextmanager
async def coordinator(folder: Path) -> AsyncIterator[Setup]:
    reactor = Reactor(asyncio.get_running_loop())
    with Store(folder / FILE) as store, TokenReader(Store(folder / FILE)) as tokens:
        async with asyncio.TaskGroup() as tasks:
            one = Setup(reactor, tasks, store, tokens, folder)
            yield one
            one.leases.ports.close_all()
        reactor.close()


def test_a_claim_is_granted_after_every_worker_acknowledged_its_own_first(tmp_path: Path) -> None:
    async def scene() -> None:
        async with coordinator(tmp_path) as one:
            one.workers.quick = {2}
            number = one.ask(2, "s")
            await asyncio.sleep(0.05)
            assert [worker for worker, _ in one.workers.of(m.RouteChanged)] == [2, 1]
            assert not one.workers.of(m.ClaimResponse)
            one.leases.on_message(1, m.RouteAck(1))
            await one.until(lambda: bool(one.workers.of(m.ClaimResponse)))
            assert isinstance(one.workers.reply_to(number), Granted)
            assert [type(event) for event in one.events] == [LeaseUp]

    asyncio.run(scene())


def test_what_an_agent_asks_for_comes_with_the_route_and_is_not_kept(tmp_path: Path) -> None:
    async def scene() -> None:
        async with coordinator(tmp_path) as one:
            limits, rewrite = ExchangeLimits(max_total_payload=1000), HeadRewrite(host="localhost:3000")
            access = AccessRules(plain_http="refuse")
            await one.claim(1, "s", Claim(id=1, kind="http", name="app", limits=limits, rewrite=rewrite, access=access))
            routes = [message for _, message in one.workers.told if isinstance(message, m.RouteChanged)]
            assert [(route.limits, route.rewrite, route.access) for route in routes] == [(limits, rewrite, access)] * 2
            session = one.leases.find("s")
            assert session is not None
            assert session.claims == {}

    asyncio.run(scene())


def test_every_worker_gets_to_know_that_a_name_is_a_tls_tunnels(tmp_path: Path) -> None:
    async def scene() -> None:
        async with coordinator(tmp_path) as one:
            await one.claim(1, "s")
            granted = await one.claim(1, "s", Claim(id=2, kind="tls", name="app", rewrite=HeadRewrite(host="localhost:3000")))
            assert isinstance(granted, Granted)
            assert granted.url == "https://app.localhost:8443"
            routes = [message for _, message in one.workers.told if isinstance(message, m.RouteChanged)]
            assert [(route.passthrough, route.rewrite) for route in routes] == [(False, None)] * 2 + [(True, None)] * 2
            assert routes[-1].epoch == granted.epoch

    asyncio.run(scene())


def test_a_worker_that_is_slow_to_learn_is_not_waited_for_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases_module, "ACK_S_MAX", 0.05)

    async def scene() -> None:
        async with coordinator(tmp_path) as one:
            one.workers.quick = {1}
            assert isinstance(await one.claim(1, "s"), Granted)

    asyncio.run(scene())


def test_a_worker_that_is_lost_is_waited_for_no_more_and_its_names_are_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases_module, "ACK_S_MAX", 60.0)

    async def scene() -> None:
        async with coordinator(tmp_path) as one:
            assert isinstance(await one.claim(2, "s"), Granted)
            one.workers.quick = {1}
            number = one.ask(1, "other", Claim(id=1, kind="http", name="second"), identity=b"j")
            await asyncio.sleep(0.02)
            one.workers.there = [1]
            one.leases.on_lost(2)
            await one.until(lambda: any(isinstance(said, m.ClaimResponse) and said.id == number for _, said in one.workers.told))
            worker, last = one.workers.of(m.RouteChanged)[-1]
            assert isinstance(last, m.RouteChanged)
            assert (worker, last.address, last.worker, last.session) == (1, "app.localhost", 0, "")
            refused = await one.claim(1, "thief", identity=b"thief")
            assert isinstance(refused, Refused)
            assert refused.code == "name_taken"
            back = await one.claim(1, "again")
            assert isinstance(back, Granted)

    asyncio.run(scene())


def test_no_claim_waits_for_a_lost_worker_even_without_sessions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases_module, "ACK_S_MAX", 60.0)

    async def scene() -> None:
        async with coordinator(tmp_path) as one:
            one.workers.quick = {1}
            number = one.ask(1, "s")
            await asyncio.sleep(0.02)
            assert not one.workers.of(m.ClaimResponse)
            one.workers.there = [1]
            one.leases.on_lost(2)
            await one.until(lambda: bool(one.workers.of(m.ClaimResponse)))
            assert isinstance(one.workers.reply_to(number), Granted)

    asyncio.run(scene())


def test_a_holder_on_another_worker_is_probed_and_replaced_if_silent_or_on_takeover(tmp_path: Path) -> None:
    async def scene() -> None:
        async with coordinator(tmp_path) as one:
            await one.claim(1, "old")
            one.workers.alive["old"] = True
            refused = await one.claim(2, "new")
            assert isinstance(refused, Refused)
            assert refused.code == "name_in_use"
            assert one.workers.of(m.Replace) == []
            one.workers.alive["old"] = False
            granted = await one.claim(2, "new")
            assert isinstance(granted, Granted)
            assert one.workers.of(m.Replace) == [(1, m.Replace("old", "app.localhost"))]
            taken = await one.claim(1, "newest", Claim(id=1, kind="http", name="app", takeover=True))
            assert isinstance(taken, Granted)
            assert taken.epoch > granted.epoch

    asyncio.run(scene())


def test_a_session_that_is_lost_while_its_claim_is_decided_gets_nothing(tmp_path: Path) -> None:
    async def scene() -> None:
        async with coordinator(tmp_path) as one:
            number = one.ask(1, "s")
            one.leases.on_message(1, m.SessionLost("s"))
            await one.until(lambda: bool(one.workers.of(m.ClaimResponse)))
            assert one.workers.reply_to(number) is None
            assert len(one.leases.registry) == 0
            assert one.leases.find("s") is None

    asyncio.run(scene())


def test_a_port_goes_with_its_session_and_is_closed_with_its_lease(tmp_path: Path) -> None:
    async def scene() -> None:
        async with coordinator(tmp_path) as one:
            granted = await one.claim(2, "s", Claim(id=1, kind="tcp"))
            assert isinstance(granted, Granted)
            assert one.workers.of(m.Listen) == [(2, m.Listen(str(one.port)))]
            one.leases.on_message(2, m.Released("s", granted.tunnel))
            assert [worker for worker, _ in one.workers.of(m.RouteRemoved)] == [1, 2]
            assert [type(event) for event in one.events] == [LeaseUp, LeaseDown]
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", one.port))

    asyncio.run(scene())


def test_a_revoked_token_has_nothing_any_more_and_gets_nothing(tmp_path: Path) -> None:
    async def scene() -> None:
        async with coordinator(tmp_path) as one:
            await one.claim(1, "s")
            watching = asyncio.ensure_future(one.leases.watch_tokens())
            with Store(tmp_path / FILE) as elsewhere:
                elsewhere.revoke("t", 1001.0)
            await one.until(lambda: len(one.leases.registry) == 0)
            watching.cancel()
            refused = await one.claim(1, "s", Claim(id=2, kind="http", name="again"))
            assert isinstance(refused, Refused)
            assert refused.code == "token_revoked"

    asyncio.run(scene())


def test_a_token_that_a_worker_found_revoked_has_nothing_any_more(tmp_path: Path) -> None:
    async def scene() -> None:
        async with coordinator(tmp_path) as one:
            await one.claim(1, "s")
            one.leases.on_message(2, m.TokenRevoked("t"))
            assert len(one.leases.registry) == 0

    asyncio.run(scene())


def test_a_new_worker_gets_every_lease(tmp_path: Path) -> None:
    async def scene() -> None:
        async with coordinator(tmp_path) as one:
            await one.claim(1, "s")
            await one.claim(2, "s2", Claim(id=1, kind="tcp"))
            one.workers.told.clear()
            one.workers.there.append(3)
            one.leases.on_started(3)
            routes = [message for worker, message in one.workers.told if worker == 3 and isinstance(message, m.RouteChanged)]
            assert sorted((route.kind, route.worker, route.session) for route in routes) == [("http", 1, "s"), ("tcp", 2, "s2")]

    asyncio.run(scene())


def test_an_unexpected_response_is_ignored(tmp_path: Path) -> None:
    async def scene() -> None:
        async with coordinator(tmp_path) as one:
            for message in (
                m.SessionLost("nobody"),
                m.Released("nobody", 1),
                m.Probed(99, alive=True),
                m.RouteAck(99),
                m.TokenRevoked("nobody"),
            ):
                one.leases.on_message(1, message)
            one.leases.replace("nobody", "app.localhost")
            assert isinstance(await one.claim(1, "s"), Granted)

    asyncio.run(scene())
