"""An association between real sockets: who may send, who may answer, what ends it, and what is counted."""

import gc
import hashlib
import random
import socket
from collections.abc import Callable
from ipaddress import ip_address

import pytest

from portway.engine.policy import Policy
from portway.engine.tally import ABORTED, ENDED, IDLE, LIFETIME, PAYLOAD, READ_BROKE
from portway.forward.udp import association as module
from tests.forward.udp.kit import Bench, named, received, udp_socket, unwrapped, wrapped
from tests.kit.loops import EngineLoop
from tests.kit.sockets import open_descriptors, reset

MakeBench = Callable[..., Bench]


def test_a_datagram_reaches_its_target_and_the_answer_the_client(bench: Bench) -> None:
    with udp_socket() as service:
        bench.send(wrapped(service.getsockname(), b"question"))
        data, relay = service.recvfrom(100)
        assert data == b"question"
        service.sendto(b"answer", relay)
        bench.engine.settle()
        assert [unwrapped(data) for data in received(bench.client)] == [(*service.getsockname(), b"answer")]
    tally = bench.association.tally
    assert (tally.forward.total_bytes, tally.forward.event_count) == (8, 1)
    assert (tally.backward.total_bytes, tally.backward.event_count) == (6, 1)
    assert not bench.drops


def test_ipv6_on_both_sides(bench_with: MakeBench) -> None:
    bench = bench_with(host="::1")
    with udp_socket("::1") as service:
        bench.send(wrapped(service.getsockname()[:2], b"six"))
        data, relay = service.recvfrom(100)
        service.sendto(data * 2, relay)
        bench.engine.settle()
        assert [unwrapped(data) for data in received(bench.client)] == [("::1", service.getsockname()[1], b"sixsix")]


def test_a_client_over_ipv4_reaches_a_target_over_ipv6_and_both_kinds_at_once(bench: Bench) -> None:
    with udp_socket("::1") as six, udp_socket() as four:
        bench.send(wrapped(six.getsockname()[:2], b"6"))
        bench.send(wrapped(four.getsockname(), b"4"))
        for service in (six, four):
            data, relay = service.recvfrom(100)
            service.sendto(data, relay)
        bench.engine.settle()
        answers = {unwrapped(data) for data in received(bench.client)}
        assert answers == {("::1", six.getsockname()[1], b"6"), ("127.0.0.1", four.getsockname()[1], b"4")}


def test_only_the_client_may_send(bench: Bench) -> None:
    with udp_socket() as service, udp_socket() as stranger, udp_socket("127.0.0.2") as elsewhere:
        elsewhere.sendto(wrapped(service.getsockname(), b"first"), bench.relay)
        bench.engine.settle()
        bench.send(wrapped(service.getsockname(), b"mine"))
        stranger.sendto(wrapped(service.getsockname(), b"stranger's"), bench.relay)
        bench.engine.settle()
        assert received(service) == [b"mine"]
    assert bench.drops == {"wrong_source": 2}


def test_the_port_that_the_client_announced_is_the_only_one(bench_with: MakeBench) -> None:
    with udp_socket() as service, udp_socket() as announced:
        bench = bench_with(port=announced.getsockname()[1])
        bench.send(wrapped(service.getsockname(), b"another port"))
        announced.sendto(wrapped(service.getsockname(), b"announced"), bench.relay)
        bench.engine.settle()
        assert received(service) == [b"announced"]
        assert bench.drops == {"wrong_source": 1}


def test_only_addresses_and_ports_that_were_sent_to_may_answer(bench: Bench) -> None:
    with udp_socket() as service, udp_socket() as neighbour, udp_socket("127.0.0.2") as elsewhere:
        bench.send(wrapped(service.getsockname(), b"question"))
        _, relay = service.recvfrom(100)
        for other in (neighbour, elsewhere):
            other.sendto(b"unasked", ("127.0.0.1", relay[1]))
        bench.engine.settle()
        assert not received(bench.client)
        assert bench.drops == {"unsolicited": 2}


def test_a_target_that_was_forgotten_for_others_may_not_answer(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TARGETS_MAX", 2)
    services = [udp_socket() for _ in range(3)]
    for service in services:
        bench.send(wrapped(service.getsockname(), b"question"))
    for service in services:
        service.sendto(b"answer", service.recvfrom(100)[1])
    bench.engine.settle()
    assert [unwrapped(data)[1] for data in received(bench.client)] == [service.getsockname()[1] for service in services[1:]]
    assert bench.drops == {"unsolicited": 1}
    for service in services:
        service.close()


def test_fragments_and_nonsense_are_dropped_and_counted(bench: Bench) -> None:
    with udp_socket() as service:
        whole = wrapped(service.getsockname(), b"whole")
        for data in (b"\0\0\x01" + whole[3:], b"", b"\0", whole[:9], b"\0\0\0\x07" + whole[4:], whole):
            bench.send(data)
        assert received(service) == [b"whole"]
    assert bench.drops == {"fragment": 1, "malformed": 4}


def test_an_empty_datagram_passes_in_both_directions(bench: Bench) -> None:
    with udp_socket() as service:
        bench.send(wrapped(service.getsockname(), b""))
        data, relay = service.recvfrom(100)
        assert data == b""
        service.sendto(b"", relay)
        bench.engine.settle()
        assert [unwrapped(data)[2] for data in received(bench.client)] == [b""]


def test_a_refused_target_is_counted_and_gets_nothing(bench: Bench) -> None:
    bench.answer = lambda _host, _port, on_judged: on_judged("forbidden")
    with udp_socket() as service:
        for _ in range(3):
            bench.send(wrapped(service.getsockname(), b"secret"))
        assert not received(service)
    assert bench.drops == {"forbidden": 3}
    assert len(bench.judged) == 1


def test_datagrams_to_a_name_wait_for_its_address_and_only_judged_addresses_are_used(bench: Bench) -> None:
    waiting: list[Callable[[list[object]], None]] = []
    bench.answer = lambda _host, _port, on_judged: waiting.append(on_judged)  # type: ignore[arg-type]
    with udp_socket() as service:
        port = service.getsockname()[1]
        for number in range(3):
            bench.send(named("a.example", port, b"%d" % number))
        assert bench.judged == [("a.example", port)]
        assert not received(service)
        waiting[0]([ip_address("127.0.0.1")])
        bench.engine.settle()
        assert received(service) == [b"0", b"1", b"2"]
        bench.send(named("a.example", port, b"3"))
        assert received(service) == [b"3"]
    assert len(bench.judged) == 1


def test_the_next_address_is_used_where_there_is_no_route_to_the_first(bench: Bench) -> None:
    addresses = [ip_address("192.0.2.1"), ip_address("127.0.0.1")]
    bench.answer = lambda _host, _port, on_judged: on_judged(list(addresses))
    with udp_socket() as service:
        bench.association._out_socket(socket.AF_INET).bind(("127.0.0.1", 0))  # from here, nothing but loopback can be reached
        bench.send(named("a.example", service.getsockname()[1], b"second"))
        assert received(service) == [b"second"]


def test_what_the_system_does_not_accept_is_counted(bench: Bench) -> None:
    bench.answer = lambda _host, _port, on_judged: on_judged([])
    with udp_socket() as service:
        bench.send(wrapped(service.getsockname(), b"nowhere"))
        assert not received(service)
    assert bench.drops["unsent"] == 1


def test_it_ends_with_its_tcp_connection(bench: Bench) -> None:
    before = open_descriptors()
    bench.control.shutdown(socket.SHUT_WR)
    bench.engine.settle()
    assert bench.done
    assert bench.association.tally.forward.shutdown_reason == ENDED
    assert open_descriptors() == before - 2  # the TCP connection and the client's socket
    with udp_socket() as service:
        bench.send(wrapped(service.getsockname(), b"late"))
        assert not received(service)
    assert bench.control.recv(1) == b""


def test_it_ends_with_a_reset_of_its_tcp_connection(bench: Bench) -> None:
    reset(bench.control)
    bench.engine.settle()
    assert bench.association.tally.backward.shutdown_reason == READ_BROKE


def test_a_client_may_send_a_little_on_the_tcp_connection(bench: Bench) -> None:
    bench.control.sendall(b"hello")
    bench.engine.settle()
    assert not bench.done
    bench.control.sendall(b"x" * module.CONTROL_BYTES_MAX)
    bench.engine.settle()
    assert bench.association.tally.forward.shutdown_reason == ABORTED
    assert "TCP connection" in bench.association.tally.why


@pytest.mark.parametrize(
    ("policy", "reason"),
    [(Policy(idle_timeout_s=0.1), IDLE), (Policy(max_lifetime_s=0.1), LIFETIME)],
    ids=["idle", "lifetime"],
)
def test_a_time_limit_resets_the_tcp_connection(bench_with: MakeBench, policy: Policy, reason: str) -> None:
    bench = bench_with(policy)
    bench.engine.run_until(lambda: bool(bench.done))
    assert bench.association.tally.limit == reason
    with pytest.raises(ConnectionResetError):
        bench.control.recv(1)


def test_exactly_the_allowed_payload_passes(bench_with: MakeBench) -> None:
    bench = bench_with(Policy(max_total_payload=10))
    with udp_socket() as service:
        bench.send(wrapped(service.getsockname(), b"12345"))
        relay = service.recvfrom(100)[1]
        service.sendto(b"67890", relay)
        bench.engine.settle()
        assert len(received(bench.client)) == 1
        bench.send(wrapped(service.getsockname(), b"!"))
        assert not received(service)
    bench.engine.run_until(lambda: bool(bench.done))
    assert bench.association.tally.limit == PAYLOAD
    assert bench.association.moved_bytes == 10
    assert bench.drops == {"limit": 1}


def test_a_rate_delays_datagrams(bench_with: MakeBench) -> None:
    bench = bench_with(Policy(max_rate_bps=40_000))
    with udp_socket() as service:
        for _ in range(20):
            bench.client.sendto(wrapped(service.getsockname(), b"x" * 1000), bench.relay)
        started = bench.engine.reactor.refresh_now()
        arrived: list[bytes] = []
        bench.engine.run_until(lambda: _all_arrived(arrived, service, 20))
        assert bench.engine.reactor.refresh_now() - started > 0.2  # 20 kB at 40 kB/s, without the burst
    assert not bench.drops


def _all_arrived(arrived: list[bytes], sock: socket.socket, count: int) -> bool:
    arrived += received(sock)
    return len(arrived) == count


def test_a_thousand_datagrams_pass_both_ways_unchanged(bench: Bench) -> None:
    chance = random.Random(1)
    payloads = [chance.randbytes(chance.randrange(0, 1400)) for _ in range(1000)]
    came, back = hashlib.sha256(), hashlib.sha256()
    with udp_socket() as service:
        for start in range(0, 1000, 50):
            for payload in payloads[start : start + 50]:
                bench.client.sendto(wrapped(service.getsockname(), payload), bench.relay)
            bench.engine.settle()
            for data in received(service):
                came.update(data)
                service.sendto(data, ("127.0.0.1", bench.association._out[socket.AF_INET].getsockname()[1]))
            bench.engine.settle()
            for data in received(bench.client):
                back.update(unwrapped(data)[2])
    expected = hashlib.sha256(b"".join(payloads)).digest()
    assert came.digest() == back.digest() == expected
    assert bench.association.tally.backward.event_count == 1000
    assert not bench.drops


def test_an_association_that_has_ended_is_not_kept_by_a_cycle(engine: EngineLoop) -> None:
    gc.collect()
    bench = Bench(engine)
    with udp_socket() as service:
        bench.send(wrapped(service.getsockname(), b"x"))
    bench.control.close()
    engine.settle()
    gc.disable()
    try:
        bench.done.clear()
        del bench.association
        assert not [found for found in gc.get_objects() if isinstance(found, module.UdpAssociation)]
    finally:
        gc.enable()
    bench.client.close()
