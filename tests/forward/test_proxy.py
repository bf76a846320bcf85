"""The proxy over real sockets: every result in every protocol, early data, limits, ends."""

import base64
import contextlib
import resource
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from portway.config.values import ListenAddress
from portway.engine.policy import Policy
from portway.forward.interfaces import Target, User
from portway.forward.outcomes import Failure, Outcome
from portway.forward.policy.policy import RulePolicy
from portway.forward.proxy import SPARE_DESCRIPTORS
from tests.forward.stage import OneUser, Stage, read_all, socks4_request, socks5_request
from tests.kit.origins import RawOrigin, echo
from tests.kit.sockets import free_port, read_exactly

CONNECTED = b"HTTP/1.1 200 Connection established\r\n\r\n"
GREETING = b"\x05\x01\x00"


@pytest.fixture
def origin() -> Iterator[RawOrigin]:
    with RawOrigin(echo) as origin:
        yield origin


def connect_head(target: str, *fields: str) -> bytes:
    return "\r\n".join([f"CONNECT {target} HTTP/1.1", f"Host: {target}", *fields, "", ""]).encode()


def http(stage: Stage, target: str, *fields: str) -> bytes:
    with stage.dial() as sock:
        sock.sendall(connect_head(target, *fields))
        return read_all(sock)


def socks5(stage: Stage, host: str | bytes, port: int, command: int = 1) -> int:
    with stage.dial() as sock:
        sock.sendall(GREETING + socks5_request(host, port, command))
        assert read_exactly(sock, 2) == b"\x05\x00"
        return read_exactly(sock, 10)[1]


def socks4(stage: Stage, host: str, port: int, command: int = 1) -> int:
    with stage.dial() as sock:
        sock.sendall(socks4_request(host, port, command))
        return read_exactly(sock, 8)[1]


# Established.


@pytest.mark.parametrize("host", ["127.0.0.1", "here.test", "HERE.test."])
def test_every_protocol_connects_and_keeps_early_data(origin: RawOrigin, host: str) -> None:
    port = origin.port
    requests = {
        "http": (connect_head(f"{host}:{port}"), CONNECTED),
        "socks5": (GREETING + socks5_request(host, port), b"\x05\x00" + b"\x05\x00\x00\x01" + bytes(6)),
        "socks4": (socks4_request(host, port), b"\x00\x5a" + bytes(6)),
    }
    with Stage() as stage:
        for protocol, (request, reply) in requests.items():
            stage.events.clear()
            with stage.dial() as sock:
                sock.sendall(request + b"early")
                assert read_exactly(sock, len(reply)) == reply
                sock.sendall(b" and late")
                sock.shutdown(socket.SHUT_WR)
                assert read_all(sock) == b"early and late"
            done = stage.last()
            assert (done.result, done.protocol, done.target, done.user) == (Outcome.ESTABLISHED, protocol, None, None)
            assert done.upstream_stats is not None
            assert done.upstream_stats.total_bytes == 14


def test_requests_that_arrive_byte_by_byte_are_understood(origin: RawOrigin) -> None:
    with Stage() as stage:
        for request in (
            connect_head(f"here.test:{origin.port}"),
            GREETING + socks5_request("here.test", origin.port),
            socks4_request("here.test", origin.port),
        ):
            with stage.dial() as sock:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                for at in range(len(request)):
                    sock.sendall(request[at : at + 1])
                    if at % 8 == 0:
                        time.sleep(0.001)
                sock.sendall(b"x")
                sock.shutdown(socket.SHUT_WR)
                assert read_all(sock)[-1:] == b"x"


def test_addresses_of_both_families_are_understood() -> None:
    with RawOrigin(echo) as four, socket.create_server(("::1", 0), family=socket.AF_INET6) as six:
        port = six.getsockname()[1]
        with Stage() as stage:
            with stage.dial() as sock:
                sock.sendall(GREETING + b"\x05\x01\x00\x04" + socket.inet_pton(socket.AF_INET6, "::1") + struct.pack(">H", port))
                six.accept()[0].close()
                assert read_exactly(sock, 4) == b"\x05\x00\x05\x00"
            with stage.dial() as sock:
                sock.sendall(connect_head(f"[::1]:{port}"))
                six.accept()[0].close()
                assert read_exactly(sock, len(CONNECTED)) == CONNECTED
            with stage.dial() as sock:
                sock.sendall(b"\x04\x01" + struct.pack(">H", four.port) + bytes([127, 0, 0, 1]) + b"me\0")
                assert read_exactly(sock, 8)[1] == 90


def test_the_next_address_is_tried_when_the_first_refuses() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, Stage() as stage:
        listener.settimeout(10)
        assert socks5(stage, "many.test", listener.getsockname()[1]) == 0


def test_a_fixed_destination_needs_no_protocol(origin: RawOrigin) -> None:
    with Stage(destination=ListenAddress("127.0.0.1", origin.port)) as stage, stage.dial() as sock:
        sock.sendall(b"\x05\x01\x00 is data")
        sock.shutdown(socket.SHUT_WR)
        assert read_all(sock) == b"\x05\x01\x00 is data"
        assert stage.last().protocol == "tcp"


# Refused.


def test_malformed_requests_get_400_and_socks_failures() -> None:
    with Stage() as stage:
        for head in (
            b"CONNECT here.test HTTP/1.1\r\n\r\n",
            b"CONNECT here.test:0 HTTP/1.1\r\n\r\n",
            b"CONNECT here.test:70000 HTTP/1.1\r\n\r\n",
            b"CONNECT u@here.test:80 HTTP/1.1\r\n\r\n",
            b"CONNECT here.test:80 HTTP/2.0\r\n\r\n",
            b"CONNECT  here.test:80 HTTP/1.1\r\n\r\n",
            b"CONNECT here.test:80 HTTP/1.1\nHost: x\n\n",
            b"CONNECT here.test:80 HTTP/1.1\r\nHo\0st: x\r\n\r\n",
            b"CONNECT here.test:80 HTTP/1.1\r\nContent-Length: 5\r\n\r\n",
            b"CONNECT here.test:80 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"CONNECT here.test:80 HTTP/1.1\r\nX: " + b"a" * 17_000 + b"\r\n\r\n",
            b"\x80garbage\r\n\r\n",
        ):
            with stage.dial() as sock:
                sock.sendall(head)
                answer = read_all(sock)
                assert answer.startswith(b"HTTP/1.1 400 Bad Request\r\n"), head[:60]
                assert b"Proxy-Status: portway; error=http_request_error" in answer
        assert socks5(stage, b"a b", 80) == 1
        assert socks5(stage, "here.test", 0) == 1
        assert socks4(stage, "a b", 80) == 91
        _until(lambda: stage.proxy.results[Outcome.BAD_REQUEST] == 15)


def test_an_early_end_is_a_bad_request() -> None:
    with Stage() as stage:
        for request in (b"CONNECT here.test:80 HT", GREETING + b"\x05\x01", b"\x04\x01"):
            with stage.dial() as sock:
                sock.sendall(request)
                sock.shutdown(socket.SHUT_WR)
                read_all(sock)
        _until(lambda: stage.proxy.results[Outcome.BAD_REQUEST] == 3)


class NoTargets:
    """Refuses every name."""

    def judge_target(self, _user: User | None, target: Target) -> Failure | None:
        return Failure(Outcome.FORBIDDEN, f"{target} is blocked.")

    def judge_remote_target(self, *_: object) -> Failure | None:
        return None

    def judge_address(self, *_: object) -> Failure | None:
        raise AssertionError("judged a blocked target")


def test_forbidden_targets_get_403() -> None:
    with Stage(policy=NoTargets()) as stage:
        assert b" 403 Forbidden\r\n" in http(stage, "here.test:80")
        assert socks5(stage, "here.test", 80) == 2
        assert socks4(stage, "here.test", 80) == 91


def test_private_addresses_are_refused_after_resolution_by_default(origin: RawOrigin) -> None:
    with Stage(policy=RulePolicy()) as stage:
        for host in ("127.0.0.1", "here.test", "localhost", "[::1]", "[::ffff:127.0.0.1]"):
            answer = http(stage, f"{host}:{origin.port}")
            assert b" 403 Forbidden\r\n" in answer
            assert b"error=http_request_denied" in answer
        assert socks5(stage, "here.test", origin.port) == 2
        assert socks4(stage, "here.test", origin.port) == 91


def test_other_commands_are_refused() -> None:
    with Stage() as stage:
        assert socks5(stage, "here.test", 80, command=2) == 7
        assert socks4(stage, "here.test", 80, command=2) == 91


def test_users_authenticate_by_each_protocol_that_can(origin: RawOrigin) -> None:
    user = User("ada")
    with Stage(users=OneUser(user), log_targets=True) as stage:
        target = f"here.test:{origin.port}"
        good, wrong = (base64.b64encode(b"ada:" + password).decode() for password in (b"secret", b"wrong"))
        for fields in ((), (f"Proxy-Authorization: Basic {wrong}",), ("Proxy-Authorization: Basic !",), ("Proxy-Authorization: Bearer x",)):
            answer = http(stage, target, *fields)
            assert b" 407 Proxy Authentication Required\r\n" in answer
            assert b'Proxy-Authenticate: Basic realm="portway proxy"' in answer
        with stage.dial() as sock:
            sock.sendall(connect_head(target, f"Proxy-Authorization: Basic {good}"))
            assert read_exactly(sock, len(CONNECTED)) == CONNECTED
        with stage.dial() as sock:
            sock.sendall(b"\x05\x02\x00\x02" + b"\x01\x03ada\x06secret" + socks5_request("here.test", origin.port))
            assert read_exactly(sock, 14)[:6] == b"\x05\x02\x01\x00\x05\x00"
        with stage.dial() as sock:
            sock.sendall(b"\x05\x01\x02" + b"\x01\x03ada\x05wrong")
            assert read_all(sock) == b"\x05\x02\x01\x01"
        with stage.dial() as sock:
            sock.sendall(b"\x05\x01\x00")
            assert read_all(sock) == b"\x05\xff"
        assert socks4(stage, "here.test", origin.port) == 91
        _until(lambda: stage.proxy.results[Outcome.ESTABLISHED] == 2)
        established = [event for event in stage.events if event.result is Outcome.ESTABLISHED]  # type: ignore[attr-defined]
        assert {(event.user, event.target) for event in established} == {("ada", target)}  # type: ignore[attr-defined]


def test_an_incomplete_request_gets_408() -> None:
    with Stage(initiation_timeout_s=0.3) as stage:
        with stage.dial() as sock:
            sock.sendall(b"CONNECT here.t")
            answer = read_all(sock)
        assert answer.startswith(b"HTTP/1.1 408 Request Timeout\r\n")
        assert stage.last().result is Outcome.INITIATION_TIMEOUT
        with stage.dial() as sock:
            assert read_all(sock) == b"", "no protocol yet"


def test_too_many_tunnels_of_a_source_or_user_get_429(origin: RawOrigin) -> None:
    target = f"here.test:{origin.port}"
    with Stage(max_per_source=2) as stage:
        with stage.dial() as one, stage.dial() as two:
            for sock in (one, two):
                sock.sendall(connect_head(target))
                assert read_exactly(sock, len(CONNECTED)) == CONNECTED
            answer = http(stage, target)
            assert b" 429 Too Many Requests\r\n" in answer
            assert b"Retry-After: 5\r\n" in answer
        _until(lambda: not stage.proxy.clients)
        assert socks5(stage, "here.test", origin.port) == 0
    login = b"\x05\x01\x02\x01\x03ada\x06secret"
    with Stage(users=OneUser(User("ada", tunnels_max=1))) as stage, stage.dial() as one, stage.dial() as two:
        one.sendall(login + socks5_request("here.test", origin.port))
        assert read_exactly(one, 14)[5] == 0
        two.sendall(login + socks5_request("here.test", origin.port))
        assert read_exactly(two, 14)[5] == 1


def test_a_full_proxy_resets_further_clients(origin: RawOrigin) -> None:
    with Stage(max_tunnels=1) as stage, stage.dial() as one:
        one.sendall(connect_head(f"here.test:{origin.port}"))
        assert read_exactly(one, len(CONNECTED)) == CONNECTED
        with contextlib.suppress(ConnectionResetError), stage.dial() as two:
            assert read_all(two) == b""
        assert stage.proxy.clients == 1


def test_the_capacity_leaves_descriptors_for_targets_and_pipes() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (1024, hard))
        with Stage(max_tunnels=8000) as stage:
            pipes = 2 * stage.proxy.reactor.pipes.pipes_max
            assert stage.proxy.capacity == (1024 - SPARE_DESCRIPTORS - pipes) // 2
        with Stage(max_tunnels=5) as stage:
            assert stage.proxy.capacity == 5
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_failures_of_the_target_are_told_apart() -> None:
    closed = free_port()
    with Stage(connect_timeout_s=0.5) as stage:
        refused = http(stage, f"127.0.0.1:{closed}")
        unknown = http(stage, "no.such.test:80")
        assert b" 502 Bad Gateway\r\n" in refused
        assert b"error=connection_refused" in refused
        assert b" 502 Bad Gateway\r\n" in unknown
        assert b'error=dns_error; details="Cannot resolve no.such.test: name or service not known' in unknown
        assert (socks5(stage, "127.0.0.1", closed), socks5(stage, "no.such.test", 80)) == (5, 4)
        assert socks4(stage, "127.0.0.1", closed) == 91


def test_a_target_that_does_not_respond_gets_504() -> None:
    with socket.socket() as full:  # a listener whose queue is full drops further connections
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        port = full.getsockname()[1]
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
        with Stage(connect_timeout_s=0.4) as stage:
            answer = http(stage, f"127.0.0.1:{port}")
            assert b" 504 Gateway Timeout\r\n" in answer
            assert b"error=connection_timeout" in answer
            assert socks5(stage, "127.0.0.1", port) == 6
        for filler in fillers:
            filler.close()


def test_a_slow_name_server_delays_only_its_own_clients(origin: RawOrigin) -> None:
    released = threading.Event()

    def query(host: str, port: int) -> list[tuple[int, tuple[str, int]]]:
        if host == "slow.test":
            released.wait(10)
        return [(socket.AF_INET, ("127.0.0.1", port))]

    with Stage(query=query, connect_timeout_s=0.5) as stage:
        with stage.dial() as slow:
            slow.sendall(connect_head("slow.test:80"))
            assert socks5(stage, "here.test", origin.port) == 0
            assert b" 504 " in read_all(slow)
        released.set()


def test_tls_on_a_plain_listener_is_reset_and_plain_on_tls_too() -> None:
    with Stage() as stage, stage.dial() as sock:
        sock.sendall(b"\x16\x03\x01\x00\x10" + bytes(16))
        assert read_all(sock) == b""


# Relays.


def test_limits_of_the_client_and_of_the_target_apply_and_are_named(origin: RawOrigin) -> None:
    with Stage(idle_timeout_s=30.0, target_policy=Policy(max_total_payload=100)) as stage, stage.dial() as sock:
        sock.sendall(connect_head(f"here.test:{origin.port}"))
        assert read_exactly(sock, len(CONNECTED)) == CONNECTED
        sock.sendall(b"x" * 200)
        assert len(read_all(sock)) <= 100
        assert stage.last().reason == "payload"


def test_removing_a_user_ends_the_users_tunnels(origin: RawOrigin) -> None:
    with Stage(users=OneUser(User("ada"))) as stage, stage.dial() as sock:
        sock.sendall(b"\x05\x01\x02\x01\x03ada\x06secret" + socks5_request("here.test", origin.port))
        read_exactly(sock, 14)
        ended: list[int] = []
        stage.call(lambda: ended.append(stage.proxy.end_tunnels_of("ada")))
        assert ended == [1]
        assert read_all(sock) == b""
        assert stage.last().reason == "the user was removed"


def test_a_client_that_leaves_during_the_connect_stops_it() -> None:
    released = threading.Event()

    def query(_host: str, port: int) -> list[tuple[int, tuple[str, int]]]:
        released.wait(10)
        return [(socket.AF_INET, ("127.0.0.1", port))]

    with socket.create_server(("127.0.0.1", 0)) as listener, Stage(query=query) as stage:
        sock = stage.dial()
        sock.sendall(connect_head(f"slow.test:{listener.getsockname()[1]}"))
        time.sleep(0.1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()
        stage.last()
        released.set()
        listener.settimeout(0.3)
        with pytest.raises(TimeoutError):
            listener.accept()


def _until(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.005)
