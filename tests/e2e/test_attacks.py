"""Men in the middle, replays, stolen tickets, cheating agents and hostile servers get nowhere with the real programs."""

import asyncio
import re
import socket
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from portway.errors import RefusedError
from portway.protocol.control.framing import MessageReader
from portway.protocol.control.messages import AskTicket, Challenge, Hello, Message, Proof, Refused, Ticket, decode_message
from portway.protocol.join_string import JoinString
from portway.protocol.proxy_header import ProxyHeader, encode, encode_local, encode_visitor
from portway.protocol.stream_status import StreamStatus
from tests.e2e.hostile import HostileLink, HostileServer, Tap, hostile_server, on_a_reactor, welcome
from tests.e2e.world import World, altered, assert_refused, event, events, web
from tests.kit.certificates import Identity, make_identity
from tests.kit.origins import RawOrigin, echo
from tests.kit.programs import Program
from tests.kit.raw_agent import RawAgent
from tests.kit.yamux_wire import DATA, read_frames


@pytest.fixture
def world() -> Iterator[World]:
    with World() as world:
        yield world


# Man in the middle


def test_a_man_in_the_middle_with_another_certificate_can_read_nothing(world: World, tmp_path: Path) -> None:
    server = world.start_server()
    join = world.token()
    middle = make_identity(tmp_path, "portway.invalid")
    with Tap((world.agents_host, world.agents_port), shows=_links_of(middle)) as tap:
        ended = world.agent(altered(join, port=tap.port), *web(), as_json=False).wait()
        assert_refused(ended, "wrong_pin", middle.pin, "The connection may be intercepted")
        assert bytes(tap.up) == b"", "the agent spoke to somebody it had not verified"
    assert not list(events(server, "session_up"))


def test_a_trusted_man_in_the_middle_cannot_use_the_login(world: World, tmp_path: Path) -> None:
    """The login is bound to the server's certificate, so that relaying it is of no use (RFC 5929)."""
    server = world.start_server()
    join = world.token()
    middle = make_identity(tmp_path, "portway.invalid")
    with Tap((world.agents_host, world.agents_port), shows=_links_of(middle)) as tap:
        fooled = altered(join, port=tap.port, pin=bytes.fromhex(middle.pin))
        ended = world.agent(fooled, *web(), as_json=False).wait()
        assert_refused(ended, "bad_credentials", "the server does not accept this token")
        assert join.token_id.encode() in tap.up, "nothing was relayed, so nothing was proven"
        assert join.secret.encode() not in tap.up + tap.down
    assert not list(events(server, "session_up"))


def test_a_ca_certificate_is_verified_with_its_name(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("good", "other")]
    for folder in folders:
        folder.mkdir()
    authority, foreign = (make_identity(folder, f"authority {folder.name}", authority=True) for folder in folders)
    real = make_identity(tmp_path, "127.0.0.1", signed_by=authority)
    real.key_file.chmod(0o600)
    with World(("--agents-certificate", str(real.cert_file), "--agents-key", str(real.key_file))) as world:
        server = world.start_server()
        join = world.token()
        assert join.pin is None
        trusting = (*web(), "--ca-file", str(authority.cert_file))
        with world.agent(join, *trusting, as_json=False) as agent:
            agent.expect("http://blog.localhost")

        impostors = {
            "unable to get local issuer certificate": make_identity(tmp_path, "127.0.0.1", signed_by=foreign),
            "IP address mismatch": make_identity(tmp_path, "192.0.2.1", signed_by=authority),
        }
        for words, impostor in impostors.items():
            with Tap((world.agents_host, world.agents_port), shows=_links_of(impostor)) as tap:
                ended = world.agent(altered(join, port=tap.port), *trusting, as_json=False).wait(20)
                assert ended.code == 3
                assert words in ended.err
                assert "--ca-file" in ended.err
                assert bytes(tap.up) == b""
        assert len(list(events(server, "session_up"))) == 1


def test_an_agent_that_was_online_retries_until_the_certificate_is_valid_again(tmp_path: Path) -> None:
    """It expired overnight, and is renewed in the morning: agents must not need a restart."""
    authority, foreign = (make_identity(tmp_path, f"authority {name}", authority=True) for name in ("good", "other"))
    real = make_identity(tmp_path, "127.0.0.1", signed_by=authority)
    real.key_file.chmod(0o600)
    with World(("--agents-certificate", str(real.cert_file), "--agents-key", str(real.key_file))) as world:
        server = world.start_server()
        agent = world.agent(world.token(), *web(), "--ca-file", str(authority.cert_file))
        event(agent, "tunnel_up")
        server.stop()
        wrong = make_identity(tmp_path, "127.0.0.1", signed_by=foreign)
        with Tap((world.agents_host, world.agents_port), shows=_links_of(wrong), port=world.agents_port):
            agent.expect(r'"event":"offline".*certificate not accepted')
        world.start_server()
        event(agent, "tunnel_up", 2, 30)
        assert agent.stop().code == 0


def _links_of(identity: Identity) -> Any:
    from portway.links.tls import server_context

    return server_context(str(identity.cert_file), str(identity.key_file))


def test_a_replayed_login_is_refused(tmp_path: Path) -> None:
    with World(("--plaintext-links",)) as world:
        server = world.start_server()
        join = world.token()
        assert join.plaintext
        with Tap((world.agents_host, world.agents_port)) as tap:
            agent = world.agent(altered(join, port=tap.port), *web(), "--plaintext-links")
            event(agent, "tunnel_up")
            agent.stop()
            recorded, answered = bytes(tap.up), bytes(tap.down)
        assert [type(one) for one in said(recorded)[:2]] == [Hello, Proof]
        assert join.secret.encode() not in recorded + answered

        # To the server, as the agent.
        answers = play_again((world.agents_host, world.agents_port), recorded)
        assert [type(one) for one in answers] == [Challenge, Refused]
        assert isinstance(answers[1], Refused)
        assert answers[1].code == "bad_credentials"
        assert event(server, "login_refused")["code"] == "bad_credentials"
        assert len(list(events(server, "session_up"))) == 1

        # To the agent, as the server.
        with RawOrigin(lambda sock: _recite(sock, answered)) as reciter:
            agent = world.agent(altered(join, port=reciter.port), *web(), "--plaintext-links", as_json=False)
            line = agent.expect("portway: offline: ", stream="err").string
            assert "nonce" in line
            assert agent.stop().code == 0
            assert not any("online" in one for one in agent.err.lines)


def said(wire: bytes) -> list[Message]:
    """Return the control messages in what one side of a plain link sent."""
    frames, _ = read_frames(wire)
    reader = MessageReader(65536)
    return [decode_message(body) for frame in frames if frame.type == DATA and frame.stream_id == 2 for body in reader.feed(frame.body)]


def play_again(address: tuple[str, int], wire: bytes) -> list[Message]:
    """Send recorded bytes on a new connection; return what the server sends until it closes."""
    heard = b""
    with socket.create_connection(address, timeout=10) as sock:
        sock.sendall(wire)
        try:
            while data := sock.recv(65536):
                heard += data
        except ConnectionResetError:
            pass
    return said(heard)


def _recite(sock: socket.socket, wire: bytes) -> None:
    sock.recv(65536)
    sock.sendall(wire)
    while sock.recv(65536):
        pass


# Agents that cheat


def test_forged_used_and_foreign_tickets_are_refused(world: World) -> None:
    server = world.start_server()
    join, other = world.token(), world.token("other")

    async def scene(dial: Callable[[JoinString], Coroutine[Any, Any, RawAgent]]) -> None:
        first, stranger = await dial(join), await dial(other)
        key = (await first.log_in(join)).session_key
        foreign_key = (await stranger.log_in(other)).session_key
        good = (await first.request(AskTicket(id=1), Ticket)).ticket
        stolen = (await first.request(AskTicket(id=2), Ticket)).ticket

        second = await dial(join)
        assert (await second.attach(good, key)).session == first.login.welcome.session  # type: ignore[union-attr]
        for ticket, with_key in ((b"\0" * 32, key), (good, key), (stolen, foreign_key), (stolen, key)):
            with pytest.raises(RefusedError, match="the ticket is unknown, used, too old, or of another session") as refused:
                await (await dial(join)).attach(ticket, with_key)
            assert refused.value.code == "bad_ticket"
            assert "new ticket" in refused.value.next_step
        await first.claim(3, "still-here")

    on_a_reactor(scene)
    event(server, "login_refused", 4)
    assert [one["code"] for one in events(server, "login_refused")] == ["bad_ticket"] * 4


def test_an_agent_may_open_one_stream_and_nothing_else_before_the_login(world: World) -> None:
    server = world.start_server()
    join = world.token()

    async def scene(dial: Callable[[JoinString], Coroutine[Any, Any, RawAgent]]) -> None:
        eager = await dial(join)
        assert (await eager.request(AskTicket(id=1), Refused)).code == "not_logged_in"

        agent = await dial(join)
        await agent.log_in(join)
        await agent.claim(1, "blog")
        broken = asyncio.Event()
        extra = agent.mux.open(b"let me in by the back door")
        extra.on_broken = broken.set
        async with asyncio.timeout(5):
            await broken.wait()
        assert not agent.lost, "the session is none the worse"
        await agent.claim(2, "still-here")

    on_a_reactor(scene)
    assert [one["code"] for one in events(server, "login_refused")] == ["not_logged_in"]


# A server that means no good


def against_hostile_server(
    world: World, tmp_path: Path, scene: Callable[[HostileServer, Callable[..., Program]], Coroutine[Any, Any, None]]
) -> None:
    """Run a scene with a hostile server, and a function that starts an agent of it."""

    async def whole() -> None:
        async with hostile_server(make_identity(tmp_path, "portway.invalid")) as server:
            world.secrets["the hostile server's token"] = server.join.secret
            await scene(server, lambda *words, **options: world.agent(server.join, *words, **options))

    asyncio.run(whole())


def test_an_agent_serves_only_its_exported_tunnels(world: World, tmp_path: Path) -> None:
    with RawOrigin(echo) as origin, RawOrigin(echo) as treasure:
        target = treasure.address

        async def scene(server: HostileServer, start: Callable[..., Program]) -> None:
            agent = start("http", str(origin.port), "--name", "blog")
            link = await server.link()
            early = link.mux.open(encode_local(7))
            broken = asyncio.Event()
            early.on_broken = broken.set
            async with asyncio.timeout(10):
                await broken.wait()  # a stream before the Welcome

            await link.authenticate()
            await link.grant(7)
            await asyncio.to_thread(event, agent, "tunnel_up")
            assert await link.visit(encode_visitor(("198.51.100.9", 1234), target, 7, b"u"), b"ping") == (StreamStatus.CONNECTED, b"ping")
            assert (origin.accepted, treasure.accepted) == (1, 0)

            for number in (0, 1, 6, 8, 2**32 - 1):
                assert await link.visit(encode_local(number)) == (StreamStatus.UNKNOWN_TUNNEL, b"")
                assert await link.visit(encode_visitor(("198.51.100.9", 1234), target, number, b"u"), b"x") == (
                    StreamStatus.UNKNOWN_TUNNEL,
                    b"",
                )
            nameless = ProxyHeader(local=True)
            twice = ProxyHeader(local=True, tlvs=((0xE0, b"\0\0\0\7"), (0xE0, b"\0\0\0\7")))
            for header in (nameless, twice):
                assert (await link.visit(encode(header)))[0] is StreamStatus.UNKNOWN_TUNNEL
            old = f"PROXY TCP4 198.51.100.9 {target[0]} 1234 {target[1]}\r\n".encode()
            for garbage in (old, b"GET / HTTP/1.1\r\n\r\n", encode_local(7)[:14] + b"\xff\xff" + b"x" * 600):
                assert (await link.visit(garbage))[0] is None
            assert (origin.accepted, treasure.accepted) == (1, 0)
            assert (await link.visit(encode_local(7), b"still there"))[1] == b"still there"
            assert not link.lost

            await asyncio.to_thread(agent.expect, "unknown tunnel 8", 10.0, stream="err")
            await asyncio.to_thread(agent.expect, "a PROXY v1 header", 10.0, stream="err")
            assert (await asyncio.to_thread(agent.stop)).code == 0

        against_hostile_server(world, tmp_path, scene)


async def _fake_welcome(link: HostileLink) -> None:
    """Let the agent in without knowing its token."""
    hello = await link.hear(Hello)
    nonce = hello.scram.partition("r=")[2]
    await link.say(Challenge(scram=f"r={nonce}mine,s=c2FsdHNhbHQ=,i=4096"))
    await link.hear(Proof)
    await link.say(welcome("v=" + "A" * 43 + "="))


async def _own_nonce(link: HostileLink) -> None:
    """Answer a login that is not this one."""
    await link.hear(Hello)
    await link.say(Challenge(scram="r=somebody-elses-nonce,s=c2FsdHNhbHQ=,i=4096"))


async def _endless_work(link: HostileLink) -> None:
    """Let the agent compute for a day."""
    hello = await link.hear(Hello)
    await link.say(Challenge(scram=f"r={hello.scram.partition('r=')[2]}mine,s=c2FsdHNhbHQ=,i=4000000"))


async def _refuse_with_escapes(link: HostileLink) -> None:
    """Try to rewrite the user's terminal."""
    await link.hear(Hello)
    await link.say(Refused(code="new_code\x1b[2J", reason="\x1b]0;owned\x07no\nportway: online", next_step="run\x1b[8m rm"))


@pytest.mark.parametrize(
    ("does", "code", "words"),
    [
        (_fake_welcome, 3, "portway: refused: the server could not prove that it has this token (bad_credentials). Do not trust this"),
        (_own_nonce, None, r"portway: offline: .*nonce"),
        (_endless_work, None, r"portway: offline: .*asks for 4000000 iterations: expected 4096 to 100000"),
        (_refuse_with_escapes, 3, r"portway: refused: \\x1b\]0;owned\\x07no\\nportway: online \(new_code\\x1b\[2J\)\. run\\x1b\[8m rm"),
    ],
)
def test_an_agent_refuses_a_server_that_cannot_prove_itself(
    world: World, tmp_path: Path, does: Callable[[HostileLink], Coroutine[Any, Any, None]], code: int | None, words: str
) -> None:
    async def scene(server: HostileServer, start: Callable[..., Program]) -> None:
        agent = start(*web(), as_json=False)
        await does(await server.link())
        pattern = words if code is None or "x1b" in words else re.escape(words)
        await asyncio.to_thread(agent.expect, pattern, 10.0, stream="err")
        ended = await asyncio.to_thread(agent.wait if code else agent.stop)
        assert ended.code == (code or 0)
        assert ended.out == ""
        assert not [line for line in ended.err.splitlines() if line.startswith("portway: online")]
        assert "\x1b" not in ended.err

    against_hostile_server(world, tmp_path, scene)
