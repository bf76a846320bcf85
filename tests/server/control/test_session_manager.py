"""Sessions of agents at a real server: logins, claims, further links, refusals, and the ends of sessions."""

import asyncio
import contextlib
import secrets
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import msgspec
import pytest

from portway.clock import wall
from portway.credentials import failure_delays
from portway.edge.lease import Owner
from portway.errors import BrokenChannel, RefusedError, UnavailableError
from portway.mux.mux_channel import MuxChannel
from portway.protocol.control.framing import encode
from portway.protocol.control.messages import (
    AskTicket,
    Claim,
    Drain,
    Ended,
    Granted,
    Message,
    Refused,
    Release,
    Released,
    Ticket,
)
from portway.protocol.join_string import JoinString
from portway.server.access import login_throttle, request_pacing
from portway.server.control import session_manager as sessions_module
from portway.server.control import token_budgets
from portway.server.control.incoming_link import BYTES_BEFORE_LOGIN, IncomingLink
from portway.server.control.interfaces import ControlSettings
from portway.server.control.session import Session, SessionLink
from portway.server.events import LeaseDown, LeaseUp, LinksChanged, LoginRefused, SessionDown, SessionUp
from portway.session import control_stream
from tests.kit.pair import RunningServer, running_server
from tests.kit.raw_agent import RawAgent, RawReactor, raw_agent, raw_reactor
from tests.kit.yamux_wire import Frame, data, ping, update

Scene = Callable[[RunningServer, RawReactor], Coroutine[Any, Any, None]]


def play(tmp_path: Path, scene: Scene, **settings: Any) -> RunningServer:
    """Run a scene with a server."""

    async def whole() -> RunningServer:
        async with raw_reactor() as reactor, running_server(tmp_path, **settings) as server:
            await scene(server, reactor)
        return server

    return asyncio.run(whole())


def altered(join: JoinString, **changes: Any) -> JoinString:
    fields = {name: getattr(join, name) for name in ("token_id", "secret", "host", "port", "pin", "plaintext")}
    return JoinString(**(fields | changes))


def test_an_agent_logs_in_claims_and_releases(tmp_path: Path) -> None:
    async def scene(server: RunningServer, reactor: RawReactor) -> None:
        agent = await raw_agent(reactor, server.token())
        login = await agent.log_in(server.token("second"))
        assert login.welcome.grace_s == 60.0
        assert login.welcome.limits.links == 4
        granted = await agent.claim(1, "app")
        assert granted.url == f"http://app.localhost:{server.http_port}"
        assert granted.name == "app"
        assert await agent.request(Release(id=2, tunnel=granted.tunnel), Released) == Released(id=2)
        assert await agent.request(Release(id=3, tunnel=granted.tunnel), Released) == Released(id=3)
        again = await agent.claim(4, "app")
        assert again.epoch > granted.epoch
        assert again.tunnel != granted.tunnel
        agent.mux.close("done")

    server = play(tmp_path, scene)
    assert [event.token for event in server.events.of(SessionUp)] == ["second"]
    assert len(server.events.of(SessionDown)) == 1
    assert len(server.events.of(LeaseUp)) == 2
    assert len(server.events.of(LeaseDown)) == 1


@pytest.mark.parametrize("wrong", ["secret", "token_id"])
def test_a_wrong_token_is_refused_and_reported(tmp_path: Path, wrong: str) -> None:
    async def scene(server: RunningServer, reactor: RawReactor) -> None:
        join = altered(server.token(), **{wrong: "A" * 43})
        agent = await raw_agent(reactor, join)
        with pytest.raises(RefusedError, match="does not accept this token") as refusal:
            await agent.log_in(join)
        assert refusal.value.code == "bad_credentials"
        assert join.secret not in str(refusal.value)
        await agent.until_lost()

    server = play(tmp_path, scene)
    assert [event.code for event in server.events.of(LoginRefused)] == ["bad_credentials"]
    assert not server.events.of(SessionUp)


def test_no_login_with_another_certificate_than_the_pinned_one(tmp_path: Path) -> None:
    async def scene(server: RunningServer, reactor: RawReactor) -> None:
        with pytest.raises(RefusedError) as refusal:
            await raw_agent(reactor, altered(server.token(), pin=b"x" * 32))
        assert refusal.value.code == "wrong_pin"

    assert not play(tmp_path, scene).events.of(LoginRefused)


def test_a_link_cannot_be_downgraded_to_plaintext(tmp_path: Path) -> None:
    async def scene(server: RunningServer, reactor: RawReactor) -> None:
        agent = await raw_agent(reactor, altered(server.token(), pin=None, plaintext=True))
        with pytest.raises(UnavailableError):
            await agent.log_in(server.token("second"))

    assert not play(tmp_path, scene).events.of(SessionUp)


def test_only_its_owner_learns_that_a_token_expired_or_was_revoked(tmp_path: Path) -> None:
    async def scene(server: RunningServer, reactor: RawReactor) -> None:
        expired, revoked = server.token("old", expires_at=wall() - 1), server.token("gone")
        server.revoke("gone")
        for join, code in ((expired, "token_expired"), (revoked, "token_revoked")):
            agent = await raw_agent(reactor, join)
            with pytest.raises(RefusedError) as refusal:
                await agent.log_in(join)
            assert refusal.value.code == code
            guesser = await raw_agent(reactor, join)
            with pytest.raises(RefusedError) as refusal:
                await guesser.log_in(altered(join, secret="A" * 43))
            assert refusal.value.code == "bad_credentials"

    play(tmp_path, scene)


def test_revoking_a_token_ends_its_sessions_within_a_second_and_frees_their_names(tmp_path: Path) -> None:
    async def scene(server: RunningServer, reactor: RawReactor) -> None:
        join, other = server.token(), server.token("other")
        agent, gone, bystander = [await raw_agent(reactor, join) for _ in range(3)]
        await agent.log_in(join)
        await agent.claim(1, "app")
        await gone.log_in(join)
        await gone.claim(1, "held")
        gone.mux.abort()
        await bystander.log_in(other)
        await bystander.claim(1, "mine")
        await server.events.wait(SessionDown)
        loop = asyncio.get_running_loop()
        server.revoke()
        began = loop.time()
        ended = await agent.receive()
        assert isinstance(ended, Ended)
        assert ended.code == "token_revoked"
        await agent.until_lost()
        assert loop.time() - began < 2.0  # a second, and a slow machine's
        await bystander.claim(2, "app")
        await bystander.claim(3, "held")
        assert not bystander.lost

    play(tmp_path, scene)


def test_revoking_a_token_frees_its_held_addresses_also_without_sessions(tmp_path: Path) -> None:
    async def scene(server: RunningServer, reactor: RawReactor) -> None:
        join = server.token()
        gone = await raw_agent(reactor, join)
        await gone.log_in(join)
        await gone.claim(1, "held")
        gone.link.abort()
        await server.events.wait(SessionDown)
        server.revoke()
        await server.events.wait(LeaseDown)

    play(tmp_path, scene)


def test_an_expiry_ends_a_running_session(tmp_path: Path) -> None:
    async def scene(server: RunningServer, reactor: RawReactor) -> None:
        join = server.token(expires_at=wall() + 1.5)
        agent = await raw_agent(reactor, join)
        await agent.log_in(join)
        ended = await agent.receive()
        assert isinstance(ended, Ended)
        assert ended.code == "token_expired"

    play(tmp_path, scene)


REFUSED_CLAIMS = [
    (Claim(id=1, kind="http", name="www"), "reserved_name"),
    (Claim(id=1, kind="http", name="-x-"), "invalid_name"),
    (Claim(id=1, kind="http", host="localhost"), "invalid_name"),
    (Claim(id=1, kind="http", host="admin.localhost"), "reserved_name"),
    (Claim(id=1, kind="http", host="a.b.localhost"), "invalid_name"),
    (Claim(id=1, kind="http", host="127.0.0.1"), "invalid_name"),
    (Claim(id=1, kind="http", host="bad host"), "invalid_name"),
    (Claim(id=1, kind="http", host="www.example.org"), "host_not_allowed"),
    (Claim(id=1, kind="tcp", port=22), "port_not_allowed"),
    (Claim(id=1, kind="http", name="taken"), "name_taken"),
]


@pytest.mark.parametrize(("claim", "code"), REFUSED_CLAIMS, ids=[f"{c.name}{c.host}{c.port or ''}" for c, _ in REFUSED_CLAIMS])
def test_an_invalid_claim_is_refused_with_a_reason_and_the_session_continues(tmp_path: Path, claim: Claim, code: str) -> None:
    async def scene(server: RunningServer, reactor: RawReactor) -> None:
        join, other = server.token(), server.token("other")
        owner, agent = await raw_agent(reactor, other), await raw_agent(reactor, join)
        await owner.log_in(other, b"o" * 32)
        await owner.claim(1, "taken")
        await agent.log_in(join)
        refused = await agent.request(claim, Refused)
        assert (refused.id, refused.code) == (1, code)
        assert refused.reason
        assert refused.next_step
        await agent.claim(2, "fine")

    play(tmp_path, scene)


def test_claims_are_checked_against_the_grants_of_the_token(tmp_path: Path) -> None:
    async def scene(server: RunningServer, reactor: RawReactor) -> None:
        join = server.token(hosts=("app", "*.example.org"), protocols=("http",), tunnels_max=2)
        agent = await raw_agent(reactor, join)
        await agent.log_in(join)
        assert (await agent.request(Claim(id=1, kind="tcp"), Refused)).code == "protocol_not_allowed"
        assert (await agent.request(Claim(id=2, kind="http", name="other"), Refused)).code == "host_not_allowed"
        assert (await agent.request(Claim(id=3, kind="http", host="www.example.org"), Granted)).name == "www.example.org"
        await agent.claim(4, "app")
        assert (await agent.request(Claim(id=5, kind="http", host="b.example.org"), Refused)).code == "too_many_tunnels"
        assert (await agent.claim(6, "app")).epoch, "what it has already counts once"

    play(tmp_path, scene)


def test_a_repeated_claim_gets_the_same_reply(tmp_path: Path) -> None:
    async def scene(server: RunningServer, reactor: RawReactor) -> None:
        join = server.token()
        agent = await raw_agent(reactor, join)
        await agent.log_in(join)
        anything = Claim(id=1, kind="http")
        first = await agent.request(anything, Granted)
        assert await agent.request(anything, Granted) == first
        port = Claim(id=2, kind="tcp")
        assert await agent.request(port, Granted) == await agent.request(port, Granted)

    play(tmp_path, scene)


def test_a_silent_holder_of_the_same_identity_is_replaced_after_a_second(tmp_path: Path) -> None:
    async def scene(server: RunningServer, reactor: RawReactor) -> None:
        join = server.token()
        old, new = await raw_agent(reactor, join), await raw_agent(reactor, join)
        await old.log_in(join)
        await old.claim(1, "app")
        await old.claim(2, "blog")
        old.go_silent()
        await new.log_in(join)
        loop = asyncio.get_running_loop()
        began = loop.time()
        await new.claim(1, "app")
        assert 0.9 < loop.time() - began < 2.0
        began = loop.time()
        await new.claim(2, "blog")
        assert loop.time() - began < 0.5, "the silent session has ended, and its other addresses are held for its identity"
        old.link.abort()

    server = play(tmp_path, scene)
    assert len(server.events.of(SessionDown)) == 2


def test_a_responsive_holder_keeps_its_name_unless_it_is_taken_over(tmp_path: Path) -> None:
    async def scene(server: RunningServer, reactor: RawReactor) -> None:
        join = server.token()
        old, new = await raw_agent(reactor, join), await raw_agent(reactor, join)
        await old.log_in(join)
        await old.claim(1, "app")
        await new.log_in(join)
        refused = await new.request(Claim(id=1, kind="http", name="app"), Refused)
        assert refused.code == "name_in_use"
        assert "--takeover" in refused.next_step
        await new.claim(2, "app", takeover=True)
        ended = await old.receive()
        assert isinstance(ended, Ended)
        assert ended.code == "replaced"
        await old.until_lost()
        assert not new.lost

    play(tmp_path, scene)


def test_the_name_of_a_lost_session_is_reserved_for_its_owner_for_the_grace_time(tmp_path: Path) -> None:
    async def scene(server: RunningServer, reactor: RawReactor) -> None:
        join = server.token()
        lost, thief, back = [await raw_agent(reactor, join) for _ in range(3)]
        await lost.log_in(join)
        first = await lost.claim(1, "app")
        lost.link.abort()
        await server.events.wait(SessionDown)
        await thief.log_in(join, b"t" * 32)
        assert (await thief.request(Claim(id=1, kind="http", name="app"), Refused)).code == "name_taken"
        await back.log_in(join)
        again = await back.claim(1, "app")
        assert again.epoch > first.epoch
        assert again.tunnel != first.tunnel
        back.link.abort()
        await server.events.wait(SessionDown, 2)
        await server.events.wait(LeaseDown)
        await thief.claim(2, "app")

    play(tmp_path, scene, grace_s=1.0)


def test_of_fifty_agents_that_race_for_a_name_one_gets_it(tmp_path: Path) -> None:
    async def scene(server: RunningServer, reactor: RawReactor) -> None:
        join = server.token()
        agents = [await raw_agent(reactor, join) for _ in range(50)]
        for number, agent in enumerate(agents):
            await agent.log_in(join, number.to_bytes(32, "big"))
        for turn in range(5):
            replies = await asyncio.gather(*(claim_or_not(agent, turn + 1, f"app{turn}") for agent in agents))
            assert sum(isinstance(reply, Granted) for reply in replies) == 1
            assert {reply.code for reply in replies if isinstance(reply, Refused)} == {"name_taken"}

    play(tmp_path, scene, plaintext_links=True)


async def claim_or_not(agent: RawAgent, number: int, name: str) -> Message:
    agent.control.send(Claim(id=number, kind="http", name=name))
    return await agent.receive()


def test_a_further_link_attaches_with_a_ticket_and_visitors_use_the_less_busy_one(tmp_path: Path) -> None:
    async def scene(server: RunningServer, reactor: RawReactor) -> None:
        join = server.token()
        first, second = await raw_agent(reactor, join), await raw_agent(reactor, join)
        login = await first.log_in(join)
        granted = await first.request(Claim(id=1, kind="tcp"), Granted)
        ticket = await first.request(AskTicket(id=2), Ticket)
        welcome = await second.attach(ticket.ticket, login.session_key)
        assert welcome.session == login.welcome.session
        visitors = [await asyncio.open_connection("127.0.0.1", granted.port) for _ in range(6)]
        await server.events.until(lambda: len(first.visits) + len(second.visits) == 6)
        assert len(first.visits) == len(second.visits) == 3
        assert {header.tunnel_id for header, _ in first.visits + second.visits} == {granted.tunnel}
        first.link.abort()
        await server.events.until(lambda: bool(first.lost) or server.events.of(SessionDown) == [])
        await second.claim(3, "still-here")
        assert not server.events.of(SessionDown), "a lost link takes only its own streams with it"
        second.link.abort()
        await server.events.wait(SessionDown)
        for _, writer in visitors:
            writer.close()

    play(tmp_path, scene)


def test_a_claim_whose_link_is_lost_meanwhile_gets_its_reply_on_the_next_link(tmp_path: Path) -> None:
    async def scene(server: RunningServer, reactor: RawReactor) -> None:
        join = server.token()
        silent, first, second = [await raw_agent(reactor, join) for _ in range(3)]
        await silent.log_in(join)
        await silent.claim(1, "app")
        silent.go_silent()
        key = (await first.log_in(join)).session_key
        ticket = await first.request(AskTicket(id=1), Ticket)
        await second.attach(ticket.ticket, key)
        claim = Claim(id=2, kind="http", name="app")  # the silent holder is probed for a second
        first.control.send(claim)
        await asyncio.sleep(0.3)
        first.link.abort()
        granted = await second.request(claim, Granted)
        assert await second.request(claim, Granted) == granted
        assert len(server.events.of(LeaseUp)) == 2, "granted once to each"
        anything = Claim(id=3, kind="http")
        assert await second.request(anything, Granted) == await second.request(anything, Granted)
        silent.link.abort()

    play(tmp_path, scene)


def test_a_ticket_that_is_forged_reused_late_or_without_the_key_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refused(reactor: RawReactor, join: JoinString, ticket: bytes, key: bytes) -> str:
        link = await raw_agent(reactor, join)
        with pytest.raises(RefusedError) as refusal:
            await link.attach(ticket, key)
        assert refusal.value.code == "bad_ticket"
        return str(refusal.value)

    async def scene(server: RunningServer, reactor: RawReactor) -> None:
        monkeypatch.setattr(failure_delays, "FAILURES_WITHOUT_DELAY", 100)
        join = server.token()
        agent, other = await raw_agent(reactor, join), await raw_agent(reactor, join)
        key = (await agent.log_in(join)).session_key
        other_key = (await other.log_in(join)).session_key
        tickets = [(await agent.request(AskTicket(id=number + 1), Ticket)).ticket for number in range(3)]
        words = {
            await refused(reactor, join, secrets.token_bytes(32), key),
            await refused(reactor, join, tickets[0], other_key),
            await refused(reactor, join, tickets[0], key),  # invalidated by its first use
        }
        good = await raw_agent(reactor, join)
        await good.attach(tickets[1], key)
        words.add(await refused(reactor, join, tickets[1], key))
        agent.mux.abort()
        good.mux.abort()
        await server.events.wait(SessionDown)
        words.add(await refused(reactor, join, tickets[2], key))  # of a session that has ended
        assert len(words) == 1

    play(tmp_path, scene)


def test_a_session_has_at_most_four_links(tmp_path: Path) -> None:
    async def scene(server: RunningServer, reactor: RawReactor) -> None:
        join = server.token()
        first = await raw_agent(reactor, join)
        key = (await first.log_in(join)).session_key
        spare = (await first.request(AskTicket(id=1), Ticket)).ticket
        for number in range(3):
            ticket = await first.request(AskTicket(id=number + 2), Ticket)
            await (await raw_agent(reactor, join)).attach(ticket.ticket, key)
        assert (await first.request(AskTicket(id=9), Refused)).code == "bad_ticket"
        with pytest.raises(RefusedError):
            await (await raw_agent(reactor, join)).attach(spare, key)

    play(tmp_path, scene)


def test_draining_links_may_be_replaced_up_to_a_limit(tmp_path: Path) -> None:
    async def scene(server: RunningServer, reactor: RawReactor) -> None:
        join = server.token()
        first = await raw_agent(reactor, join)
        key = (await first.log_in(join)).session_key
        links = [first]
        for number in range(7):
            if len(links) >= 4:
                links[number - 3].mux.yamux.drain()
                await until_pong(links[number - 3])
            ticket = await links[-1].request(AskTicket(id=number + 1), Ticket)
            links.append(await raw_agent(reactor, join))
            await links[-1].attach(ticket.ticket, key)
        links[5].mux.yamux.drain()
        await until_pong(links[5])
        assert (await links[-1].request(AskTicket(id=99), Refused)).code == "bad_ticket"
        assert [event.links for event in server.events.of(LinksChanged)] == list(range(2, 9))

    play(tmp_path, scene)


async def until_pong(agent: RawAgent) -> None:
    """Wait for a pong: it arrives after everything sent before."""
    pong = asyncio.Event()
    agent.mux.ping(lambda _: pong.set())
    async with asyncio.timeout(10):
        await pong.wait()


def test_an_agent_may_open_only_its_control_stream(tmp_path: Path) -> None:
    async def scene(server: RunningServer, reactor: RawReactor) -> None:
        join = server.token()
        agent = await raw_agent(reactor, join)
        early = agent.mux.open(b"before the login")
        await agent.log_in(join)
        late = agent.mux.open(b"and after it")
        await agent.claim(1, "app")
        for stream in (early, late):
            with pytest.raises(BrokenChannel):
                stream.send(b"x")

    play(tmp_path, scene)


def test_a_silent_link_is_closed_at_the_deadline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("portway.server.control.incoming_link.LOGIN_S_MAX", 0.2)

    async def scene(server: RunningServer, reactor: RawReactor) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.token().port)
        async with asyncio.timeout(3):
            while await reader.read(1000):
                pass
        writer.close()

    play(tmp_path, scene, plaintext_links=True)


def test_a_source_whose_logins_fail_repeatedly_is_delayed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failure_delays, "FAILURES_WITHOUT_DELAY", 2)

    async def scene(server: RunningServer, reactor: RawReactor) -> None:
        join = server.token()
        for _ in range(2):
            agent = await raw_agent(reactor, join)
            with pytest.raises(RefusedError):
                await agent.log_in(altered(join, secret="A" * 43))
        agent = await raw_agent(reactor, join)
        with pytest.raises(UnavailableError, match=r"2 logins from 127\.0\.0\.1 failed"):
            await agent.log_in(join)
        await asyncio.sleep(1.1)
        agent = await raw_agent(reactor, join)
        await agent.log_in(join)

    play(tmp_path, scene)


def test_an_agent_with_a_wrong_token_does_not_block_others_of_its_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failure_delays, "FAILURES_WITHOUT_DELAY", 2)

    async def scene(server: RunningServer, reactor: RawReactor) -> None:
        good, bad = server.token("good"), server.token("bad")
        await (await raw_agent(reactor, good)).log_in(good)
        for _ in range(4):
            with pytest.raises((RefusedError, UnavailableError)):
                await (await raw_agent(reactor, bad)).log_in(altered(bad, secret="A" * 43))
        again = await raw_agent(reactor, good)
        await again.log_in(good)
        with pytest.raises(UnavailableError, match="logins from 127"):
            await (await raw_agent(reactor, bad)).log_in(bad)


@pytest.mark.parametrize(
    "frame", [update(1, 1), ping(7), data(1, b"x"), data(9999, b"x" * 1000)], ids=["updates", "pings", "crumbs", "strays"]
)
def test_a_link_that_sends_too_much_before_its_login_is_closed_as_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, frame: Frame
) -> None:
    monkeypatch.setattr(failure_delays, "FAILURES_WITHOUT_DELAY", 2)

    async def scene(server: RunningServer, reactor: RawReactor) -> None:
        join = server.token()
        for _ in range(2):
            agent = await raw_agent(reactor, join)
            flood = frame.wire * (2 * BYTES_BEFORE_LOGIN // len(frame.wire))
            agent.link.send(flood)
            await agent.until_lost()
        agent = await raw_agent(reactor, join)
        with pytest.raises(UnavailableError, match=r"2 logins from 127\.0\.0\.1 failed"):
            await agent.log_in(join)

    play(tmp_path, scene)


@pytest.mark.parametrize("plaintext", [False, True], ids=["TLS links", "plain links"])
def test_when_all_login_slots_are_taken_a_link_is_evicted_for_another_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plaintext: bool
) -> None:
    monkeypatch.setattr(login_throttle, "UNAUTHENTICATED_MAX", 6)

    async def scene(server: RunningServer, reactor: RawReactor) -> None:
        join = server.token()
        crowd = [await raw_agent(reactor, join, source=f"127.0.0.{2 + number % 2}") for number in range(6)]
        agent = await raw_agent(reactor, join)
        await agent.log_in(join)
        lost = [link for link in crowd if link.lost]
        assert len(lost) == 1
        assert lost[0] in crowd[:2], "the oldest of one of them"

    play(tmp_path, scene, plaintext_links=plaintext)


def test_the_limit_before_the_login_is_ample_and_ends_with_it(tmp_path: Path) -> None:
    async def scene(server: RunningServer, reactor: RawReactor) -> None:
        join = server.token()
        agent = await raw_agent(reactor, join)
        before = agent.mux.bytes_out
        await agent.log_in(join)
        assert agent.mux.bytes_out - before < BYTES_BEFORE_LOGIN / 10
        for number in range(1, 120):
            await agent.request(Claim(id=number, kind="http", name="x" * 1000), Refused)
        assert agent.mux.bytes_out > 1.5 * BYTES_BEFORE_LOGIN
        assert not agent.lost

    play(tmp_path, scene)


def test_all_sessions_of_a_token_and_their_links_share_one_tenant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    attached: list[IncomingLink] = []

    class RecordingLink(IncomingLink):
        def attach(self, session: Session, link: SessionLink) -> None:
            assert self.mux.account.tenant is None  # of its source
            super().attach(session, link)
            attached.append(self)

    monkeypatch.setattr(sessions_module, "IncomingLink", RecordingLink)

    async def scene(server: RunningServer, reactor: RawReactor) -> None:
        join, other = server.token("one"), server.token("other")
        for number, owner in enumerate((join, join, other)):
            agent = await raw_agent(reactor, owner)
            await agent.log_in(owner, identity=bytes([number]) * 32)
        tenants = [incoming.mux.account.tenant for incoming in attached]
        assert tenants[0] is not None
        assert tenants[0] is tenants[1]
        assert tenants[0] is not tenants[2]
        for incoming, tenant in zip(attached, tenants, strict=True):
            assert incoming.session is not None
            assert incoming.session.account is tenant

    play(tmp_path, scene)


def test_unauthenticated_links_beyond_the_limit_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(login_throttle, "UNAUTHENTICATED_MAX", 3)
    monkeypatch.setattr(sessions_module, "UNAUTHENTICATED_MAX", 5)

    async def scene(server: RunningServer, reactor: RawReactor) -> None:
        join = server.token()
        waiting = [await raw_agent(reactor, join) for _ in range(3)]
        refused = await raw_agent(reactor, join)
        with pytest.raises(UnavailableError, match=r"all 3 .* 127\.0\.0\.1"):
            await refused.log_in(join)
        more = [await raw_agent(reactor, join) for _ in range(3)]
        await more[-1].until_lost()  # the number of refusals with a reason is bounded, too
        waiting[0].mux.abort()
        async with asyncio.timeout(10):
            while True:  # until the server has noticed that the first one is gone
                late = await raw_agent(reactor, join)
                try:
                    await late.log_in(join)
                    break
                except UnavailableError:
                    await late.until_lost()

    play(tmp_path, scene)


def test_a_server_that_stops_notifies_its_agents_first(tmp_path: Path) -> None:
    received: list[Message] = []

    async def scene() -> None:
        async with raw_reactor() as reactor:
            async with running_server(tmp_path) as server:
                join = server.token()
                agent = await raw_agent(reactor, join)
                await agent.log_in(join)
                await agent.claim(1, "app")
            received.append(await agent.receive())
            await agent.until_lost()

    asyncio.run(scene())
    assert isinstance(received[0], Drain)


def test_a_bug_in_one_control_stream_ends_only_that_session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(self: object, session: object, claim: Claim) -> Granted:
        raise ZeroDivisionError

    async def scene(server: RunningServer, reactor: RawReactor) -> None:
        join = server.token()
        agent, other = await raw_agent(reactor, join), await raw_agent(reactor, join)
        await agent.log_in(join)
        await other.log_in(join)
        with monkeypatch.context() as patch:
            patch.setattr("portway.server.control.claims.ClaimHandler.grant", broken)
            agent.control.send(Claim(id=1, kind="http"))
            await agent.until_lost()
        await other.claim(1, "app")

    play(tmp_path, scene)


@pytest.fixture(autouse=True)
def _short_goodbyes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control_stream, "CLOSE_S_MAX", 0.2)


def test_reprs_of_settings_and_owners_contain_no_secret() -> None:
    shown = repr((ControlSettings(binding=None, decoy_seed=b"seed-of-decoys", grace_s=1.0), Owner("laptop", b"identity-of-an-agent")))
    assert "laptop" in shown
    assert "seed-of-decoys" not in shown
    assert "identity-of-an-agent" not in shown


def stuff(number: int, count: int) -> bytes:
    """Return a framed request with an unknown field."""
    return encode(msgspec.msgpack.encode({"t": "AskTicket", "id": number, "unknown": bytes(count)}))


async def flood(agent: RawAgent, wire: bytes) -> None:
    """Send bytes on the control stream, as far as its window allows."""
    view = memoryview(wire)
    channel = agent.mux.yamux.streams[2]
    assert isinstance(channel, MuxChannel)
    with contextlib.suppress(BrokenChannel):
        while view and channel.send_window:
            view = view[channel.send(view) :]
            await asyncio.sleep(0 if channel.room() else 0.01)


def test_a_link_with_too_long_messages_before_its_login_gets_the_reason(tmp_path: Path) -> None:
    async def scene(server: RunningServer, reactor: RawReactor) -> None:
        agent = await raw_agent(reactor, server.token())
        await flood(agent, b"".join(stuff(number, 3000) for number in range(1, 20)))
        refused = await agent.receive()
        assert isinstance(refused, Refused)
        assert refused.code == "bad_message"
        assert "bytes of control messages buffered before the login; at most 16384 are allowed" in refused.reason

    play(tmp_path, scene)


def test_of_a_tokens_sessions_those_that_buffer_most_end_and_the_others_continue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_pacing, "BURST", 1)
    monkeypatch.setattr(request_pacing, "PER_S", 2.0)
    monkeypatch.setattr(token_budgets, "CONTROL_BYTES_MAX", 500_000)

    async def scene(server: RunningServer, reactor: RawReactor) -> None:
        join = server.token()
        agents = [await raw_agent(reactor, join) for _ in range(5)]
        for number, agent in enumerate(agents):
            await agent.log_in(join, bytes((number,)) * 32)
        honest, *greedy = agents
        await honest.claim(1, "app")
        for agent in greedy:
            await flood(agent, b"".join(stuff(number, 65_000) for number in range(1, 9)))
        await server.events.until(lambda: len(server.events.of(SessionDown)) >= 2)
        await honest.claim(2, "shop")
        assert not honest.lost

    server = play(tmp_path, scene)
    assert any("all links of the token may buffer 500000 in total" in event.reason for event in server.events.of(SessionDown))


def test_an_agent_that_reads_nothing_is_disconnected_at_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_budgets, "TOKEN_BYTES_MAX", 200_000)

    async def scene(server: RunningServer, reactor: RawReactor) -> None:
        join = server.token()
        reading, deaf = await raw_agent(reactor, join), await raw_agent(reactor, join)
        await reading.log_in(join, b"r" * 32)
        await deaf.log_in(join, b"d" * 32)
        await deaf.claim(1, "deaf")
        deaf.link.on_readable = lambda: None

        async def upload() -> None:
            _, writer = await asyncio.open_connection("127.0.0.1", server.http_port)
            writer.write(b"POST / HTTP/1.1\r\nHost: deaf.localhost\r\nContent-Length: 100000000\r\n\r\n")
            with contextlib.suppress(OSError):
                while not server.events.of(SessionDown):
                    writer.write(bytes(65536))
                    await asyncio.wait({asyncio.ensure_future(writer.drain())}, timeout=0.2)
            writer.transport.abort()

        uploads = [asyncio.create_task(upload()) for _ in range(40)]
        down = await server.events.wait(SessionDown)
        assert "bytes are unread by the agent; all links of its token may buffer 200000 together" in down.reason
        await asyncio.gather(*uploads)
        await reading.claim(2, "shop")

    play(tmp_path, scene)
