"""Spellings of this machine, generated, through every protocol: none of them reaches a listener on loopback (threats F1)."""

import contextlib
import itertools
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from functools import partial
from ipaddress import IPv4Address, IPv6Address

import pytest

from portway.forward.connect.direct import DirectConnector
from portway.forward.policy.pattern_set import PatternSet
from portway.forward.policy.patterns import read_pattern
from portway.forward.policy.policy import RulePolicy, RuleSet
from portway.forward.policy.rules import TargetRules
from portway.links.resolver import Address
from tests.forward.stage import Stage, read_all, socks5_request

LOOPBACK = IPv4Address("127.0.0.1")

NAMES = {
    "loop.test": ["127.0.0.1"],
    "six.test": ["::1"],
    "mapped.test": ["::ffff:127.0.0.1"],
    "nat64.test": ["64:ff9b::7f00:1"],
    "zero.test": ["0.0.0.0"],
    "mixed.test": ["192.0.2.1", "127.0.0.1", "::1"],
    "xn--bcher-kva.test": ["127.0.0.1"],
    "localhost": ["127.0.0.1", "::1"],
    "a.localhost": ["127.0.0.1"],
    "localhost.localdomain": ["127.0.0.1"],
}


def resolve(host: str, port: int) -> list[Address]:
    """Resolve as the system does, every numeric form that inet_aton reads included, with the names above instead of DNS."""
    flags = 0 if host in NAMES else socket.AI_NUMERICHOST
    found = [] if flags == 0 else socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags)
    addresses = [str(address[0]) for _, _, _, _, address in found] or NAMES[host]
    return [(int(socket.AF_INET6 if ":" in address else socket.AF_INET), (address, port)) for address in addresses]


def numbers(value: int) -> list[str]:
    """Return a number in the notations of inet_aton."""
    return list(dict.fromkeys([f"{value}", f"0{value:o}", f"0x{value:x}", f"0X{value:X}", f"000{value:o}", f"0x000{value:x}"]))


def spellings_of_ipv4(address: IPv4Address) -> Iterator[str]:
    """Yield one to four parts of an address, each in every notation."""
    octets = list(address.packed)
    for parts in (4, 3, 2, 1):
        values = [*octets[: parts - 1], int.from_bytes(octets[parts - 1 :], "big")]
        notations = [numbers(value)[: 3 if parts == 4 else 6] for value in values]
        yield from (".".join(combined) for combined in itertools.product(*notations))


def spellings_of_ipv6() -> Iterator[str]:
    """Yield IPv6 forms of loopback, and addresses that embed it."""
    bits = int(LOOPBACK)
    embedding = {
        "mapped": 0xFFFF << 32 | bits,
        "compatible": bits,
        "translated": 0xFFFF << 48 | bits,
        "nat64": int(IPv6Address("64:ff9b::")) | bits,
        "local nat64": int(IPv6Address("64:ff9b:1::")) | bits,
        "6to4": 0x2002 << 112 | bits << 80 | 1,
        "teredo": 0x20010000 << 96 | bits ^ 0xFFFFFFFF,
        "isatap": int(IPv6Address("fe80::5efe:0:0")) | bits,
        "isatap public": int(IPv6Address("2600::5efe:0:0")) | bits,
        "loopback": 1,
        "unspecified": 0,
    }
    for value in embedding.values():
        address = IPv6Address(value)
        dotted = f"{address.exploded[:30]}{IPv4Address(value & 0xFFFFFFFF)}"
        yield from (address.compressed, address.exploded, address.compressed.upper(), dotted)
        yield from (f"{address.compressed}%lo", f"{address.compressed}%25lo")


def disguised() -> Iterator[str]:
    """Yield names, and forms that some parser or resolver takes for an address."""
    yield from NAMES
    yield from (f"{name}." for name in (*NAMES, "127.0.0.1", "2130706433", "0x7f.1", "0177.1"))
    yield from (name.upper() for name in NAMES)
    wide = str.maketrans("0123456789.", "\uff10\uff11\uff12\uff13\uff14\uff15\uff16\uff17\uff18\uff19\uff0e")
    yield from (
        "127.0.0.1".translate(wide),
        "127\u30020\u30020\u30021",
        "\u2460\u2461\u2466.0.0.1",
        "\u24db\u24de\u24d2\u24d0lhost",
        "b\u00fccher.test",
    )
    yield from ("%31%32%37.0.0.1", "127.0.0.1%00.example.com", "%6c%6f%63alhost", "127.0.0.1%2eexample", "localhost%00")
    yield from ("user@127.0.0.1", "127.0.0.1@example.com", "example.com#@127.0.0.1", "example.com\\@127.0.0.1", "127.0.0.1\\@example.com")
    yield from (
        " 127.0.0.1",
        "127.0.0.1 ",
        "\t127.0.0.1",
        "127.0.0.1\x00",
        "127.0.0.1\x00.example.com",
        "127.0.0.1\r\n",
        "[127.0.0.1]",
        "[[::1]]",
    )
    yield from (
        "127..1",
        ".127.0.0.1",
        "127.0.0.1..",
        "127,0,0,1",
        "127.0.0.1/32",
        "127.0.0.01",
        "+127.0.0.1",
        "127.0.0.1e0",
        "0b1111111.0.0.1",
    )


def all_spellings() -> list[str]:
    ipv4 = [spelling for address in ("127.0.0.1", "127.8.0.1", "0.0.0.0") for spelling in spellings_of_ipv4(IPv4Address(address))]
    return list(dict.fromkeys([*ipv4, *spellings_of_ipv6(), *disguised()]))


class Canary:
    """Listeners on loopback, IPv4 and IPv6 with one port, that nothing may reach."""

    def __init__(self) -> None:
        self.reached: list[str] = []
        first = socket.create_server(("0.0.0.0", 0))
        self.port: int = first.getsockname()[1]
        self._sockets = [first]
        with contextlib.suppress(OSError):  # no IPv6
            self._sockets.append(socket.create_server(("::1", self.port), family=socket.AF_INET6))
        for sock in self._sockets:
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = sock.accept()
                self.reached.append(client.getsockname()[0])
                client.close()

    def close(self) -> None:
        for sock in self._sockets:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()


@pytest.fixture
def canary() -> Iterator[Canary]:
    found = Canary()
    yield found
    found.close()


def connect_request(host: str, port: int) -> bytes:
    target = f"[{host}]:{port}" if ":" in host and not host.startswith("[") else f"{host}:{port}"
    return f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode("utf-8", "surrogateescape")


def plain_request(host: str, port: int) -> bytes:
    target = f"[{host}]:{port}" if ":" in host and not host.startswith("[") else f"{host}:{port}"
    return f"GET http://{target}/ HTTP/1.1\r\nHost: {target}\r\nConnection: close\r\n\r\n".encode("utf-8", "surrogateescape")


def socks5(host: str, port: int) -> bytes:
    """Return greeting and request: an address in binary if it is one, as some clients send it."""
    try:
        packed = IPv6Address(host).packed
    except ValueError:
        return b"\5\1\0" + socks5_request(host.encode("utf-8", "surrogateescape"), port)
    return b"\5\1\0\5\1\0\4" + packed + struct.pack(">H", port)


def socks4a(host: str, port: int) -> bytes:
    try:
        return b"\4\1" + struct.pack(">H", port) + IPv4Address(host).packed + b"me\0"
    except ValueError:
        return b"\4\1" + struct.pack(">H", port) + b"\0\0\0\1me\0" + host.encode("utf-8", "surrogateescape") + b"\0"


def was_granted(protocol: str, answer: bytes) -> bool:
    """Return whether an answer says that the target is connected."""
    if protocol == "socks5":
        return answer[2:4] == b"\5\0"
    if protocol == "socks4a":
        return answer[:2] == b"\0\x5a"
    return b" 200 " in answer.split(b"\r\n", 1)[0]


PROTOCOLS: dict[str, Callable[[str, int], bytes]] = {
    "connect": connect_request,
    "plain": plain_request,
    "socks5": socks5,
    "socks4a": socks4a,
}


def ask(stage: Stage, data: bytes) -> bytes:
    """Send a request without waiting for a reply in between, and read to the end."""
    with stage.dial() as sock:
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
        return read_all(sock)


def test_there_are_enough_spellings() -> None:
    assert len(all_spellings()) >= 280


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_no_spelling_of_loopback_reaches_it(protocol: str, canary: Canary) -> None:
    granted = []
    with Stage(policy=RulePolicy(), query=resolve) as stage:
        for spelling in all_spellings():
            answer = ask(stage, PROTOCOLS[protocol](spelling, canary.port))
            if was_granted(protocol, answer):
                granted.append(spelling)

    assert granted == []
    assert canary.reached == []


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_proxy_without_the_policy_reaches_the_canary(protocol: str, canary: Canary) -> None:
    """This is what the policy prevents, so the test above can fail."""
    spellings = [*spellings_of_ipv4(LOOPBACK), "::1", "::ffff:127.0.0.1", *NAMES]
    with Stage(policy=RulePolicy(RuleSet(TargetRules(allow_private=True))), query=resolve) as stage:
        for spelling in spellings:
            ask(stage, PROTOCOLS[protocol](spelling, canary.port))

    assert len(canary.reached) > 280


def test_a_name_that_changes_between_check_and_dial_reaches_only_what_was_checked(canary: Canary) -> None:
    """The resolver gives an allowed address first, and loopback from then on."""
    asked: dict[str, int] = {}

    def rebinding(host: str, port: int) -> list[Address]:
        asked[host] = asked.get(host, 0) + 1
        address = "127.0.0.2" if asked[host] == 1 else "127.0.0.1"
        return [(int(socket.AF_INET), (address, port))]

    allowed = TargetRules(allow=PatternSet([read_pattern("*"), read_pattern("127.0.0.2")]))
    with Stage(policy=RulePolicy(RuleSet(allowed)), query=rebinding) as stage:
        for number in range(50):
            name, connector = f"r{number}.test", stage.proxy.connector
            assert isinstance(connector, DirectConnector)
            ask(stage, connect_request(name, canary.port))
            stage.call(partial(connector._resolver.invalidate, name, canary.port))  # as after the end of the TTL
            assert b" 403 " in ask(stage, connect_request(name, canary.port))

    assert set(canary.reached) == {"127.0.0.2"}
    assert set(asked.values()) == {2}


def test_of_several_addresses_only_allowed_ones_are_dialled(canary: Canary) -> None:
    def several(_host: str, port: int) -> list[Address]:
        return [(int(socket.AF_INET), (address, port)) for address in ("127.0.0.1", "127.0.0.3", "127.0.0.2", "127.0.0.4")]

    allowed = TargetRules(allow=PatternSet([read_pattern("*"), read_pattern("127.0.0.2")]))
    with Stage(policy=RulePolicy(RuleSet(allowed)), query=several) as stage:
        assert was_granted("connect", ask(stage, connect_request("several.test", canary.port)))

    assert canary.reached == ["127.0.0.2"]


@pytest.mark.parametrize("allow_private", [False, True])
def test_no_datagram_reaches_loopback_by_any_spelling(allow_private: bool) -> None:
    """The same over UDP ASSOCIATE; with `allow_private` as the counter-proof that datagrams are sent at all."""
    policy = RulePolicy(RuleSet(TargetRules(allow_private=allow_private)))
    spellings = all_spellings() if not allow_private else [*spellings_of_ipv4(LOOPBACK)]
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as canary,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client,
        Stage(policy=policy, query=resolve) as stage,
        stage.dial() as control,
    ):
        canary.bind(("0.0.0.0", 0))
        canary.settimeout(5.0 if allow_private else 0.5)
        port = canary.getsockname()[1]
        control.sendall(b"\5\1\0\5\3\0\1\0\0\0\0\0\0")
        reply = b""
        while len(reply) < 12:
            reply += control.recv(12 - len(reply))
        assert reply[:4] == b"\5\0\5\0"
        relay = (socket.inet_ntoa(reply[6:10]), int.from_bytes(reply[10:12], "big"))
        for spelling in spellings:
            raw = spelling.encode("utf-8", "surrogateescape")
            client.sendto(b"\0\0\0\3" + bytes([len(raw)]) + raw + struct.pack(">H", port) + b"hello", relay)
            client.sendto(b"\0\0\0\1" + LOOPBACK.packed + struct.pack(">H", port) + b"hello", relay)
        if allow_private:
            assert canary.recv(100) == b"hello"
        else:
            with pytest.raises(TimeoutError):
                canary.recv(100)
