"""Admission by descriptor number and by the capacity left for others, with real sockets."""

import itertools
import resource
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial

import pytest

from portway.edge.admission import UNLIMITED, AdmissionControl, CapacityShare, descriptor_limit, reset_socket
from portway.edge.connection_state import ConnectionState
from portway.edge.events import ConnectionsShed, VisitorsTurnedAway
from portway.edge.lease import Holder
from portway.engine.listener import Listener, listen
from portway.errors import RefusedError
from tests.kit.loops import EngineLoop
from tests.kit.sockets import open_descriptors, tcp_pair


def share_of(
    admission: AdmissionControl,
    where: str = "tcp port 1",
    used: Callable[[], int] = lambda: 0,
    *,
    free_ratio: int = 10**6,
    limit: int = 10**6,
) -> CapacityShare:
    """Return a share whose connections are never shed."""
    return CapacityShare(admission, where, lambda: (), used, free_ratio=free_ratio, limit=limit)


_numbers = itertools.count()


def new_address() -> str:
    """Return an unused address."""
    number = next(_numbers)
    return f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"


@pytest.fixture
def sockets() -> Iterator[Callable[[], socket.socket]]:
    """A function that opens one more socket."""
    with ExitStack() as stack:
        yield lambda: stack.enter_context(socket.socket())


@pytest.mark.parametrize(
    ("descriptors", "visitors_end"), [(64, 32), (1024, 512), (4096, 3584), (20_000, 18_000), (UNLIMITED, UNLIMITED - UNLIMITED // 10)]
)
def test_a_part_of_all_descriptors_is_kept_from_visitors(engine: EngineLoop, descriptors: int, visitors_end: int) -> None:
    assert AdmissionControl(engine.reactor, descriptors=descriptors).visitors_end == visitors_end


@pytest.mark.parametrize(("descriptors", "links_end", "unauthenticated_max"), [(256, 144, 16), (1024, 576, 64), (20_000, 13_912, 1_250)])
def test_a_part_of_all_descriptors_is_kept_for_visitors(
    engine: EngineLoop, descriptors: int, links_end: int, unauthenticated_max: int
) -> None:
    admission = AdmissionControl(engine.reactor, descriptors=descriptors)
    assert (admission.links_end, admission.unauthenticated_max) == (links_end, unauthenticated_max)


def test_links_are_refused_when_all_but_visitors_have_their_part(engine: EngineLoop, sockets: Callable[[], socket.socket]) -> None:
    descriptors = 4 * open_descriptors()
    admission = AdmissionControl(engine.reactor, descriptors=descriptors)
    visitors = 0
    admission.add_counter(lambda: visitors)
    number = 0
    while admission.links_free(0) > 0:
        admission.check_link(0, 0)
        number = sockets().fileno()
    # The number, not the count: descriptors that other tests left may be freed, and taken again, at any time.
    assert number == pytest.approx(admission.links_end - 1, abs=8)
    with pytest.raises(RefusedError) as refused:
        admission.check_link(0, 0)
    assert refused.value.code == "too_many_logins"
    visitors = 10
    assert admission.links_free(0) == 10, "what visitors have does not count"
    assert admission.links_free(admission.links_end) == 0, "whatever the numbers say, as with holes among them"


def test_one_token_leaves_a_part_of_the_links_to_others(engine: EngineLoop) -> None:
    admission = AdmissionControl(engine.reactor, descriptors=40_000)
    links = 0
    with pytest.raises(RefusedError):
        for links in range(40_000):
            admission.check_link(links, links)
    assert links == pytest.approx(admission.links_end * 3 / 4, abs=2)
    admission.check_link(0, links)


def test_visitors_come_in_above_their_end_while_they_have_less_than_their_part(engine: EngineLoop) -> None:
    admission = AdmissionControl(engine.reactor, descriptors=256)
    visitors = 0
    admission.add_counter(lambda: visitors)
    assert admission.free(190) == 50, "up to what neither may take"
    assert admission.free(240) == 0
    visitors = 60
    assert admission.free(190) == 4, "up to their part"
    visitors = 64
    assert admission.free(190) == 0
    assert admission.free(100) == 28, "below their end they are as free as ever"


def test_this_process_s_limit_is_the_default(engine: EngineLoop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _what: (2048, 4096))
    assert AdmissionControl(engine.reactor).visitors_end == 1536
    monkeypatch.setattr(resource, "getrlimit", lambda _what: (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert descriptor_limit() == UNLIMITED


def test_reserved_descriptors_are_not_for_visitors_whatever_uses_the_rest(engine: EngineLoop, sockets: Callable[[], socket.socket]) -> None:
    end = open_descriptors() + 20
    admission = AdmissionControl(engine.reactor, descriptors=2 * end)
    admission.add_counter(lambda: end // 2)  # visitors have the part that is theirs
    share = share_of(admission)
    answers = [(sock.fileno(), share.admits(sock, new_address())) for sock in (sockets() for _ in range(40))]
    assert answers == [(number, number < end) for number, _ in answers]
    assert {found for _, found in answers} == {True, False}


def test_a_greedy_share_leaves_capacity_for_others(engine: EngineLoop, sockets: Callable[[], socket.socket]) -> None:
    admission = AdmissionControl(engine.reactor, descriptors=36_000)
    sock, used = sockets(), [0, 0]
    admission.add_counter(lambda: sum(used))
    for who in range(2):
        share = share_of(admission, "greedy", partial(used.__getitem__, who), free_ratio=3)
        while share.admits(sock, new_address()):
            used[who] += 1
    end = admission.visitors_end
    assert used[0] == pytest.approx(end * 3 / 4, abs=2)
    assert used[1] == pytest.approx(end / 4 * 3 / 4, abs=2)
    assert share_of(admission, "modest", free_ratio=3).admits(sock, new_address())
    assert not share_of(admission, "modest", lambda: 5, free_ratio=3, limit=5).admits(sock, new_address()), "its own cap holds, too"


def test_the_first_rejection_is_reported_at_once_and_a_flood_is_one_event(engine: EngineLoop, sockets: Callable[[], socket.socket]) -> None:
    told: list[VisitorsTurnedAway | ConnectionsShed] = []
    admission = AdmissionControl(engine.reactor, told.append, descriptors=36_000)
    admission.add_counter(lambda: 7)
    share, sock = share_of(admission, limit=0), sockets()
    for _ in range(1000):
        assert not share.admits(sock, new_address())
    assert told == [VisitorsTurnedAway(1, 7, admission.visitors_end, "tcp port 1")]


def test_a_rejected_visitor_is_reset_and_uses_no_descriptor(engine: EngineLoop) -> None:
    """Not until the end of the batch either: a flood would use up what is kept for agents."""
    near, far = tcp_pair()
    with near:
        near.send(b"hello")
        before = open_descriptors()
        reset_socket(far)
        assert open_descriptors() == before - 1
        with pytest.raises(ConnectionResetError):
            near.recv(1)


def test_a_flood_in_one_batch_leaves_the_kept_descriptors_alone(engine: EngineLoop, sockets: Callable[[], socket.socket]) -> None:
    end = open_descriptors() + 60
    admission = AdmissionControl(engine.reactor, descriptors=2 * end)
    admission.add_counter(lambda: end // 2)  # visitors have the part that is theirs
    share, highest = share_of(admission), 0
    taken: list[socket.socket] = []

    def accept(sock: socket.socket, _address: tuple[str, int]) -> None:
        nonlocal highest
        highest = max(highest, sock.fileno())
        if share.admits(sock, new_address()):
            taken.append(sock)
        else:
            reset_socket(sock)

    listener = Listener(engine.reactor, listen("127.0.0.1", 0), accept)
    for _ in range(50):
        sockets().connect(listener.address)
    engine.settle()
    listener.close()
    engine.settle()
    assert len(taken) < 50, "some found no place"
    assert highest <= end + 50, "the visitors' own ends in this process, and one more"
    for sock in taken:
        sock.close()


class Idler:
    """A connection that has been idle for ever."""

    holder: Holder | None = None

    def __init__(self, address: str) -> None:
        self.address = address
        self.over = False

    def state(self) -> tuple[ConnectionState, float, int]:
        return ConnectionState.EXEMPT if self.over else ConnectionState.IDLE, float("-inf"), 0

    def shed(self, state: ConnectionState) -> None:
        assert state is ConnectionState.IDLE
        self.over = True


def test_when_descriptors_run_short_the_largest_share_is_shed_for_others(engine: EngineLoop, sockets: Callable[[], socket.socket]) -> None:
    told: list[VisitorsTurnedAway | ConnectionsShed] = []
    admission = AdmissionControl(engine.reactor, told.append, descriptors=36_000)
    admission.add_counter(lambda: 29_000)
    crowd = [Idler("192.0.2.1") for _ in range(5)]
    large = CapacityShare(admission, "http", lambda: crowd, lambda: 28_000, free_ratio=10**6, limit=10**6)
    small, sock = share_of(admission, used=lambda: 1_000), sockets()
    for number in range(1, 6):
        assert small.admits(sock, new_address())
        assert sum(one.over for one in crowd) == number
    assert told == [ConnectionsShed(1, 29_000, admission.visitors_end, "tcp port 1")]
    large.close()
    assert small.admits(sock, new_address()), "there is still room"


def test_a_share_that_is_not_full_leaves_others_alone_while_descriptors_suffice(
    engine: EngineLoop, sockets: Callable[[], socket.socket]
) -> None:
    admission = AdmissionControl(engine.reactor, descriptors=36_000)
    admission.add_counter(lambda: 20_000)
    crowd = [Idler("192.0.2.1") for _ in range(5)]
    CapacityShare(admission, "http", lambda: crowd, lambda: 19_000, free_ratio=10**6, limit=10**6)
    assert share_of(admission, used=lambda: 1_000).admits(sockets(), new_address())
    assert not any(one.over for one in crowd)


def test_a_source_with_a_quarter_of_all_does_not_get_the_last_sixteenth(engine: EngineLoop, sockets: Callable[[], socket.socket]) -> None:
    admission = AdmissionControl(engine.reactor, descriptors=36_000)
    crowd = [Idler("192.0.2.1") for _ in range(95)]
    for one in crowd:
        one.state = lambda: (ConnectionState.EXEMPT, 0.0, 0)  # type: ignore[method-assign]
    share = CapacityShare(admission, "http", lambda: crowd, lambda: 95, free_ratio=7, limit=100)
    assert not share.admits(sockets(), "192.0.2.1")
    assert share.admits(sockets(), "192.0.2.2")
