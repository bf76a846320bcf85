"""UDP ASSOCIATE as a client meets it: a proxy, its policy, its names, and services that answer datagrams."""

import socket
import struct
import threading
import time
from collections.abc import Iterator

import pytest

from portway.forward.events import ClientDone
from portway.forward.interfaces import User
from portway.forward.policy.pattern_set import PatternSet
from portway.forward.policy.patterns import read_pattern
from portway.forward.policy.policy import RulePolicy, RuleSet
from portway.forward.policy.rules import TargetRules
from portway.forward.udp import relay as module
from portway.protocol.socks5 import encode_address, parse_reply
from tests.forward.stage import OneUser, Stage, read_all, socks5_request
from tests.forward.udp.kit import named, unwrapped, wrapped
from tests.kit.name_server import name_server
from tests.kit.sockets import read_exactly

ZONE = "a.test"


class Echo:
    """A service that answers each datagram with itself, in a thread."""

    def __init__(self) -> None:
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.bind(("127.0.0.1", 0))
        self.address = self.sock.getsockname()
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while True:
            data, source = self.sock.recvfrom(1 << 16)
            if data == b"stop":
                self.sock.close()
                return
            self.sock.sendto(data, source)

    def close(self) -> None:
        """Stop."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.sendto(b"stop", self.address)


@pytest.fixture
def echo() -> Iterator[Echo]:
    """A running service."""
    echo = Echo()
    yield echo
    echo.close()


class Client:
    """A SOCKS5 client with an association, or with the reply that refused it."""

    def __init__(self, stage: Stage, *, user: str = "") -> None:
        self.control = stage.dial()
        if user:
            self.control.sendall(b"\x05\x01\x02\x01%c%b\x06secret" % (len(user), user.encode()))
            assert read_exactly(self.control, 4) == b"\x05\x02\x01\0"
        else:
            self.control.sendall(b"\x05\x01\0")
            assert self.control.recv(2) == b"\x05\0"
        self.control.sendall(b"\x05\x03\0" + encode_address("0.0.0.0", 0))
        found = parse_reply(self.control.recv(100))
        assert found is not None
        self.reply = found[0]
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.settimeout(10)
        if not self.reply.code:
            self.sock.connect((self.reply.host, self.reply.port))

    def close(self) -> None:
        """End the association."""
        self.control.close()
        self.sock.close()


def done(stage: Stage) -> ClientDone:
    """Return the event of the association."""
    event = stage.last()
    assert isinstance(event, ClientDone)
    return event


def test_datagrams_to_addresses_and_names_are_answered_and_counted(echo: Echo) -> None:
    with Stage() as stage:
        client = Client(stage)
        assert client.reply.host == "127.0.0.1"
        client.sock.send(wrapped(echo.address, b"to an address"))
        assert unwrapped(client.sock.recv(1000)) == (*echo.address, b"to an address")
        client.sock.send(named("here.test", echo.address[1], b"to a name"))
        assert unwrapped(client.sock.recv(1000)) == (*echo.address, b"to a name")
        client.sock.send(named("nowhere.test", 9, b"x"))
        client.close()
        event = done(stage)
    assert (event.protocol, event.result, event.reason) == ("socks5", "established", "")
    assert event.upstream_stats is not None
    assert event.downstream_stats is not None
    assert event.upstream_stats.total_bytes == event.downstream_stats.total_bytes == len(b"to an addressto a name")
    assert event.upstream_stats.shutdown_reason == "ended"
    assert event.datagrams_dropped in ({}, {"unresolved": 1})  # the client may have left before the name was looked up


def test_a_name_server_of_this_machine_answers_a_query() -> None:
    query = struct.pack(">HHHHHH", 0x1234, 0, 1, 0, 0, 0) + b"\x03www\x01a\x04test\0" + struct.pack(">HH", 1, 1)
    with name_server(ZONE) as server, Stage() as stage:
        client = Client(stage)
        client.sock.send(wrapped(("127.0.0.1", server.port), query))
        host, port, answer = unwrapped(client.sock.recv(4096))
        client.close()
    assert (host, port) == ("127.0.0.1", server.port)
    assert answer[:2] == b"\x12\x34"
    assert answer.endswith(socket.inet_aton("127.0.0.1")) or socket.inet_aton("127.0.0.1") in answer


@pytest.mark.parametrize("datagram", [wrapped(("127.0.0.1", 9), b"x"), wrapped(("::ffff:127.0.0.1", 9), b"x"), named("here.test", 9, b"x")])
def test_what_the_policy_refuses_gets_no_datagram(datagram: bytes) -> None:
    with Stage(policy=RulePolicy(RuleSet(TargetRules()))) as stage:
        client = Client(stage)
        client.sock.send(datagram)
        _wait_for_drop(stage)
        client.close()
        assert done(stage).datagrams_dropped == {"forbidden": 1}


def test_a_port_that_is_blocked_gets_no_datagram(echo: Echo) -> None:
    rules = TargetRules(block=PatternSet([read_pattern(f"*:{echo.address[1]}")]), allow_private=True)
    with Stage(policy=RulePolicy(RuleSet(rules))) as stage:
        client = Client(stage)
        client.sock.send(wrapped(echo.address, b"x"))
        _wait_for_drop(stage)
        client.close()
        assert done(stage).datagrams_dropped == {"forbidden": 1}


def _wait_for_drop(stage: Stage) -> None:
    dropped: list[int] = []
    until = time.monotonic() + 10
    while not dropped or not dropped[-1]:
        assert time.monotonic() < until
        stage.call(lambda: dropped.append(sum(sum(a._association.drops.values()) for a in stage.proxy._clients if a._association)))
        time.sleep(0.005)


def test_users_have_to_authenticate_and_removing_one_ends_the_association(echo: Echo) -> None:
    with Stage(users=OneUser(User("ann"))) as stage:
        client = Client(stage, user="ann")
        client.sock.send(wrapped(echo.address, b"hello"))
        assert unwrapped(client.sock.recv(1000))[2] == b"hello"
        stage.call(lambda: stage.proxy.end_tunnels_of("ann"))
        with pytest.raises(ConnectionResetError):
            client.control.recv(1)
        assert done(stage).reason == "the user was removed"
        client.close()


def test_the_limits_of_the_proxy_hold(echo: Echo) -> None:
    with Stage(max_total_payload=8) as stage:
        client = Client(stage)
        client.sock.send(wrapped(echo.address, b"1234"))
        client.sock.recv(100)
        client.sock.send(wrapped(echo.address, b"5"))
        assert read_all(client.control) == b""
        assert done(stage).reason == "payload"
        client.close()


def test_too_many_associations_of_one_source_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PER_SOURCE_MAX", 1)
    with Stage() as stage:
        first = Client(stage)
        second = Client(stage)
        assert second.reply.code == 1
        first.close()
        second.close()
        while len(stage.events) < 2:
            time.sleep(0.005)
        third = Client(stage)
        assert third.reply.code == 0
        third.close()


def test_an_idle_association_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "IDLE_S", 0.1)
    with Stage() as stage:
        client = Client(stage)
        assert read_all(client.control) == b""
        assert done(stage).reason == "idle"
        client.close()


def test_other_commands_are_refused() -> None:
    with Stage() as stage, stage.dial() as sock:
        sock.sendall(b"\x05\x01\0" + socks5_request("here.test", 1, command=2))
        assert read_all(sock)[:4] == b"\x05\0\x05\x07"
