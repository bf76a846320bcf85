"""Refused logins and claims: the real programs explain them in words a user understands."""

import asyncio
import json
import re
import socket
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from portway.errors import RefusedError
from portway.protocol.control.messages import AskTicket, Ticket
from portway.protocol.join_string import JoinString
from portway.session.login import attach
from portway.session.tickets import VALID_S
from tests.e2e.hostile import on_a_reactor
from tests.e2e.world import ReportMeasurement, World, altered, assert_refused, event, events, moment, refusal, web
from tests.kit.bad_network_proxy import BadNetworkProxy
from tests.kit.certificates import Identity, make_identity
from tests.kit.http_origin import HttpOrigin
from tests.kit.origins import RawOrigin, echo
from tests.kit.programs import Finished
from tests.kit.raw_agent import RawAgent, raw_agent, raw_reactor


@pytest.fixture
def world() -> Iterator[World]:
    with World() as world:
        yield world


class OldTicket:
    """A ticket that gets old while other tests run; its session is kept alive by a thread."""

    def __init__(self, world: World) -> None:
        """Get the ticket."""
        self.world = world
        self.server = world.start_server()
        self._join = world.token()
        self._ready, self._over = threading.Event(), threading.Event()
        self.issued_at = 0.0
        self.outcome = ""
        self._thread = threading.Thread(target=lambda: asyncio.run(self._keep()), daemon=True)
        self._thread.start()
        assert self._ready.wait(10)

    async def _keep(self) -> None:
        async with raw_reactor() as reactor:
            agent = await raw_agent(reactor, self._join)
            key = (await agent.log_in(self._join)).session_key
            ticket = (await agent.request(AskTicket(id=1), Ticket)).ticket
            self.issued_at = time.monotonic()
            self._ready.set()
            if await asyncio.to_thread(self._over.wait, VALID_S + 0.2):
                return
            late = await raw_agent(reactor, self._join)
            try:
                await attach(late.control, ticket, key)
                self.outcome = "attached"
            except RefusedError as refused:
                self.outcome = refused.code
            await agent.claim(2, "still-here")

    def wait(self) -> str:
        """Return what came of presenting it too late."""
        self._thread.join(VALID_S + 10)
        return self.outcome

    def close(self) -> None:
        """End the thread, also early."""
        self._over.set()
        self._thread.join(10)


@pytest.fixture(scope="module", autouse=True)
def old_ticket() -> Iterator[OldTicket]:
    """Begins with this file, so that its last test need not wait for all of the ticket's life."""
    with World() as world:
        ticket = OldTicket(world)
        yield ticket
        ticket.close()


# Authentication


def test_wrong_secrets_unknown_tokens_and_wrong_pins_have_their_codes(world: World) -> None:
    server = world.start_server()
    join = world.token()
    guess = "G" * 43
    wrong = world.agent(altered(join, secret=guess), *web(), as_json=False).wait()
    assert_refused(wrong, "bad_credentials", "the server does not accept this token", "portway token create")
    unknown = world.agent(altered(join, token_id="nobody"), *web(), as_json=False).wait()
    assert unknown.err == wrong.err, "whether a token exists can be told from outside"
    assert guess not in wrong.err + wrong.out

    pin = world.agent(altered(join, pin=b"\x11" * 32), *web(), as_json=False).wait()
    assert join.pin is not None
    assert_refused(pin, "wrong_pin", join.pin.hex(), "11" * 32, "The connection may be intercepted", "new join string")

    told = refusal(world.agent(altered(join, secret=guess), *web()).wait())
    assert (told["code"], bool(told["reason"]), bool(told["next_step"])) == ("bad_credentials", True, True)
    assert [one["code"] for one in events(server, "login_refused")] == ["bad_credentials"] * 3
    assert not list(events(server, "session_up"))


def test_failed_logins_delay_further_ones_and_the_right_token_logs_in_afterwards(world: World) -> None:
    server = world.start_server(as_json=False)
    join = world.token()

    async def guess(dial: Callable[[JoinString], Coroutine[Any, Any, RawAgent]]) -> None:
        for number in range(5):
            with pytest.raises(RefusedError, match="does not accept this token"):
                await (await dial(join)).log_in(altered(join, secret=f"{number}" * 43))

    with BadNetworkProxy((world.agents_host, world.agents_port)) as relay:
        relay.blackhole()
        waiting = world.agent(altered(join, port=relay.address[1]), *web(), as_json=False)
        waiting.expect("connecting", stream="err")
        on_a_reactor(guess)
        relay.blackhole(False)  # only now does the server see the agent, from the guesser's address
        waiting.expect(r"portway: offline: 5 logins from 127.0.0.1 failed \(too_many_logins\); (trying again|next try in)", stream="err")
        waiting.expect("http://blog.localhost")
    server.expect("refused +127.0.0.1:[0-9]+: bad_credentials")
    server.expect("refused +127.0.0.1:[0-9]+: too_many_logins")


def test_revoking_a_token_ends_its_sessions_within_a_second(world: World, report_measurement: ReportMeasurement) -> None:
    server = world.start_server()
    join, spared = world.token("lost-laptop"), world.token("spared")
    with HttpOrigin() as origin:
        first = world.agent(join, "http", str(origin.port), "--name", "blog", as_json=False)
        second = world.agent(join, "tcp", str(origin.port))
        bystander = world.agent(spared, "http", str(origin.port), "--name", "other", data="other")
        first.expect("http://blog.localhost")
        event(second, "tunnel_up")
        event(bystander, "tunnel_up")
        revoked = world.run("token", "revoke", "lost-laptop", "--data", world.server_data)
        assert (revoked.code, revoked.err) == (0, f"Token lost-laptop ({join.token_id}) revoked.")
        ended = first.wait()
        assert ended.code == 3
        assert "portway: refused: token lost-laptop was revoked (token_revoked). Ask the server's operator for a new join" in ended.err
        assert refusal(second.wait())["code"] == "token_revoked"
        listed = json.loads(world.run("token", "list", "--json", "--data", world.server_data).out)
        revoked_at = next(moment({"time": one["revoked"]}) for one in listed if one["name"] == "lost-laptop")
        lasted = [moment(event(server, "session_down", number)) - revoked_at for number in (1, 2)]
        report_measurement(f"revoked: both sessions ended after {max(lasted):.2f} s")
        assert max(lasted) < 1.0
        assert world.visit("blog").error == "unknown_host"
        assert world.visit("other").status == 200
        again = world.agent(join, *web(), as_json=False).wait()
        assert_refused(again, "token_revoked", "token lost-laptop was revoked")
        heir = world.agent(spared, "http", str(origin.port), "--name", "blog", data="other")
        event(heir, "tunnel_up")
    wrong = world.agent(altered(join, secret="G" * 43), *web(), as_json=False).wait()
    assert_refused(wrong, "bad_credentials")  # that it was revoked is sent only to holders of the secret
    assert re.search(r"lost-laptop +\S+ +revoked", world.run("token", "list", "--data", world.server_data).out)


def test_an_expired_token_ends_its_session_and_is_refused(world: World) -> None:
    def live_for(life: str) -> tuple[str, JoinString, Finished]:
        name = f"guest-{life}"
        join = world.token(name, "--expires", life)
        return name, join, world.agent(join, *web(), as_json=False).wait(30)

    world.start_server()
    name, join, ended = live_for("3s")
    if not ended.out:  # it was over before the agent's Python had started
        name, join, ended = live_for("15s")
    assert (ended.code, ended.out.startswith("http://blog.localhost")) == (3, True), ended
    assert f"refused: token {name} has expired (token_expired). Ask the server's operator for a new join string" in ended.err
    assert_refused(world.agent(join, *web(), as_json=False).wait(), "token_expired", f"token {name} has expired")
    assert re.search(rf"{name} +\S+ +expired", world.run("token", "list", "--data", world.server_data).out)


# The peer is not a Portway server, or only one end uses TLS


def test_an_agent_reports_an_address_without_a_portway_server(world: World, tmp_path: Path) -> None:
    web_server = make_identity(tmp_path, "127.0.0.1")
    pinned = JoinString("laptop", "S" * 43, "127.0.0.1", 1, bytes.fromhex(web_server.pin))
    plain = altered(pinned, pin=None, plaintext=True)
    world.secrets["the token"] = pinned.secret

    def shut(sock: socket.socket) -> None:
        sock.recv(10)

    with (
        HttpOrigin() as http,
        RawOrigin(echo) as parrot,
        RawOrigin(shut) as door,
        RawOrigin(_listen) as silent,
        RawOrigin(lambda sock: _https(sock, web_server)) as https,
    ):
        foreign = "The peer may not be a Portway server, or one of the two ends may lack --plaintext-links"
        cases: list[tuple[JoinString, str]] = [
            (altered(pinned, port=http.port), r"cannot establish TLS: .*(wrong version number|not TLS)"),
            (altered(pinned, port=https.port), r"not a Portway server \(ALPN None, expected 'portway/1'\)"),
            (altered(pinned, port=door.port), r"cannot establish TLS: "),
            # A web server waits for the end of a line, and a login's random bytes have one now and then: it answers with "<html>" then.
            (altered(plain, port=http.port), rf"(did not finish the login within 10 s|yamux: version [0-9]+, expected 0)\. {foreign}"),
            (altered(plain, port=silent.port), rf"did not finish the login within 10 s\. {foreign}"),
            (altered(plain, port=parrot.port), rf"yamux: .*\. {foreign}"),
            (altered(plain, port=door.port), rf"(closed the link|link broke).*\. {foreign}"),
            (altered(pinned, port=silent.port), r"did not respond within 10 s"),
        ]
        agents = [
            world.agent(join, *web(), *(["--plaintext-links"] if join.plaintext else []), data=f"agent-{number}", as_json=False)
            for number, (join, _) in enumerate(cases)
        ]
        for agent, (_, words) in zip(agents, cases, strict=True):
            line = agent.expect("portway: offline: .*; (trying again|next try in)", 25.0, stream="err").string
            assert re.search(words, line), line
        for agent in agents:
            ended = agent.stop()
            assert (ended.code, ended.out) == (0, "")


def _listen(sock: socket.socket) -> None:
    """Never send anything."""
    while sock.recv(65536):
        pass


def _https(sock: socket.socket, identity: Identity) -> None:
    """Serve like a web server without ALPN `portway/1`."""
    sock.settimeout(10)
    with identity.server_context().wrap_socket(sock, server_side=True) as tls:
        tls.recv(100)


def test_plain_links_must_be_enabled_at_both_ends(world: World) -> None:
    encrypted, plain = JoinString("laptop", "S" * 43, "127.0.0.1", 1, b"p" * 32), JoinString("laptop", "S" * 43, "127.0.0.1", 1, None, True)
    world.secrets["the token"] = encrypted.secret
    ended = world.agent(plain, *web(), as_json=False).wait()
    assert (ended.code, ended.out) == (2, "")
    assert "this server uses links without TLS; add --plaintext-links if the network is private" in ended.err
    ended = world.agent(encrypted, *web(), "--plaintext-links", as_json=False).wait()
    assert (ended.code, ended.out) == (2, "")
    assert "--plaintext-links: the join string is for a server that uses TLS; remove the option" in ended.err

    # Both ends report it, in different words.
    server = world.start_server()
    join = world.token()
    lied = world.agent(altered(join, pin=None, plaintext=True), *web(), "--plaintext-links", as_json=False)
    lied.expect("portway: offline: .*one of the two ends may lack --plaintext-links", stream="err")
    assert lied.stop().out == ""
    assert not list(events(server, "session_up"))
    server.stop()
    world.start_server("--plaintext-links")
    lied = world.agent(join, *web(), as_json=False)
    lied.expect("portway: offline: cannot establish TLS: TLS handshake failed: wrong version number", stream="err")
    assert lied.stop().out == ""


# Claims


def test_names_and_ports_are_refused_with_a_reason_and_a_next_step(world: World) -> None:
    server = world.start_server("--grace", "30s")
    mine, other = world.token("mine"), world.token("other")
    narrow = world.token("narrow", "--hosts", "shop,dev-*", "--ports", f"{world.tcp_port + 1}")
    no_tcp, one_only = world.token("no-tcp", "--protocols", "http"), world.token("one-only", "--max-tunnels", "1")
    inside, beyond = world.tcp_port, world.tcp_port + 8
    holders = [
        world.agent(mine, *web("blog")),
        world.agent(mine, "tcp", "1", "--port", str(inside)),
        world.agent(mine, "tcp", "1", "--port", str(inside + 1)),
        world.agent(one_only, *web("the-one")),
    ]
    for holder in holders:
        event(holder, "tunnel_up")
    cases: list[tuple[JoinString, tuple[str, ...], str, tuple[str, ...]]] = [
        (other, web("blog"), "name_taken", ("blog.localhost belongs to another agent", "Choose another name")),
        (mine, web("blog"), "name_taken", ("blog.localhost belongs to another agent",)),
        (other, (*web("blog"), "--takeover"), "name_taken", ("blog.localhost belongs to another agent",)),
        (other, ("tcp", "1", "--port", str(inside)), "port_taken", (f"port {inside} belongs to another agent", "a free one")),
        (mine, web("www"), "reserved_name", ("the name 'www' is reserved for the server",)),
        (mine, web("_acme-challenge"), "reserved_name", ("reserved for the server",)),
        (mine, web("My_App"), "invalid_name", ("'My_App' may contain only lower-case letters, digits and hyphens", "Try 'my-app'")),
        (mine, web("a.b"), "invalid_name", ("'a.b' may contain only", "Try 'a-b'")),
        (mine, web("x" * 64), "invalid_name", ("has 64 characters, at most 63",)),
        (mine, web("b\u00fccher\x1b[2J"), "invalid_name", (r"'b\xfccher\x1b[2J'", "Try")),
        (mine, ("http", "1", "--host", "localhost"), "invalid_name", ("localhost",)),
        (mine, ("http", "1", "--host", "shop.example.org"), "host_not_allowed", ("token mine does not allow the host shop.example.org",)),
        (narrow, web("blog-2"), "host_not_allowed", ("does not allow the host blog-2.localhost, only shop, dev-*", "--hosts")),
        (mine, ("tcp", "1", "--port", "22"), "port_not_allowed", (f"port 22 is outside of this server's range {inside}-{inside + 7}",)),
        (mine, ("tcp", "1", "--port", str(beyond)), "port_not_allowed", (f"port {beyond} is outside",)),
        (narrow, ("tcp", "1", "--port", str(inside)), "port_not_allowed", (f"does not allow port {inside}, only {inside + 1}", "--ports")),
        (narrow, ("tcp", "1"), "no_free_port", ("in use", "more ports")),
        (no_tcp, ("tcp", "1"), "protocol_not_allowed", ("token no-tcp allows http tunnels only", "--protocols tcp")),
        (one_only, web("another"), "too_many_tunnels", ("token one-only has 1 tunnel already, of at most 1", "--max-tunnels")),
    ]
    with socket.create_server(("127.0.0.1", inside + 7)), ThreadPoolExecutor(2) as hands:
        cases.append((mine, ("tcp", "1", "--port", str(inside + 7)), "port_taken", ("cannot be opened", "address already in use")))

        def claim(number: int) -> Finished:
            join, words, _, _ = cases[number]
            return world.agent(join, *words, data=f"claimer-{number}", as_json=False).wait()

        for ended, (_, _, code, words) in zip(hands.map(claim, range(len(cases))), cases, strict=True):
            assert_refused(ended, code, *(words if code != "port_taken" or "cannot" not in words[0] else words[:1]))
    for holder in holders:
        assert holder.running
        assert len(list(events(holder, "tunnel_up"))) == 1
    assert not list(events(server, "lease_down"))


# What is too late


def test_an_expired_ticket_is_refused(old_ticket: OldTicket) -> None:
    assert old_ticket.wait() == "bad_ticket"
    assert [one["code"] for one in events(old_ticket.server, "login_refused")] == ["bad_ticket"]
