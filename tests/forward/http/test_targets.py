"""One lease for each user and target, within bounds; connects that end at once, later, or never."""

from collections.abc import Callable

import pytest

from portway.edge.http.refusal import Refusal
from portway.engine.channel import Channel
from portway.engine.memory_channel import memory_pair
from portway.engine.policy import Policy
from portway.forward.http import targets as module
from portway.forward.http.targets import TargetHolder, TargetLeases
from portway.forward.interfaces import ConnectRequest, Target, User
from portway.forward.outcomes import Failure, Outcome
from portway.protocol.stream_status import StreamStatus
from tests.kit.loops import EngineLoop

TARGET = Target("a.example", 80)


class Ways:
    """A connector whose results the test decides."""

    def __init__(self, result: Channel | Failure | None = None) -> None:
        self.result = result
        self.requests: list[ConnectRequest] = []
        self.pending: list[Callable[[Channel | Failure], None]] = []
        self.cancelled = 0

    def connect(self, request: ConnectRequest, on_connected: Callable[[Channel | Failure], None]) -> Callable[[], None]:
        """Call back at once, or when the test wants it."""
        self.requests.append(request)
        if self.result is not None:
            on_connected(self.result)
        else:
            self.pending.append(on_connected)
        return self._cancel

    def _cancel(self) -> None:
        self.cancelled += 1


def leases(engine: EngineLoop, ways: Ways | None = None) -> TargetLeases:
    """Return leases without an edge."""
    return TargetLeases(engine.reactor, ways or Ways(), lambda: 5.0)


def test_users_and_targets_have_leases_of_their_own(engine: EngineLoop) -> None:
    known = leases(engine)
    users = (None, User("ann"), User("bob"))
    found = [known.lease(user, target, "192.0.2.1") for user in users for target in (TARGET, Target("a.example", 81))]
    assert len({lease.address for lease in found}) == len({lease.tunnel_id for lease in found}) == 6
    assert known.lease(User("ann"), TARGET, "192.0.2.1") is found[2]


def test_a_changed_user_gets_a_new_lease_and_the_old_pool_is_closed(engine: EngineLoop) -> None:
    known, closed = leases(engine), []
    first = known.lease(User("ann"), TARGET, "")
    first.on_holder_lost = lambda: closed.append(1)
    assert known.lease(User("ann", Policy(max_rate_bps=1)), TARGET, "") is not first
    assert closed == [1]


def test_the_target_that_was_used_the_longest_time_ago_is_dropped(engine: EngineLoop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TARGETS_MAX", 2)
    known = leases(engine)
    targets = [Target("a.example", port) for port in (1, 2, 3)]
    first, second = known.lease(None, targets[0], ""), known.lease(None, targets[1], "")
    assert known.lease(None, targets[0], "") is first
    known.lease(None, targets[2], "")
    assert second.holder is None
    assert first.holder is not None
    known.forget_all()
    assert first.holder is None


def test_a_removed_user_s_pools_are_closed(engine: EngineLoop) -> None:
    known = leases(engine)
    ann, bob = known.lease(User("ann"), TARGET, ""), known.lease(User("bob"), TARGET, "")
    known.forget_user("ann")
    assert (ann.holder, bob.holder is None) == (None, False)


@pytest.mark.parametrize("at_once", [True, False])
def test_a_connect_that_fails_is_told_after_the_channel_was_returned(engine: EngineLoop, at_once: bool) -> None:
    failure = Failure(Outcome.REFUSED, "No.")
    ways = Ways(failure if at_once else None)
    holder = leases(engine, ways).lease(User("ann"), TARGET, "192.0.2.1").holder
    assert isinstance(holder, TargetHolder)
    told: list[object] = []
    holder.open(0, b"", told.append)
    assert not told
    if not at_once:
        ways.pending[0](failure)
    engine.settle()
    assert told == [Refusal("forward:refused", "No.")]
    assert (ways.requests[0].target, ways.requests[0].user, ways.requests[0].source) == (TARGET, User("ann"), "192.0.2.1")


@pytest.mark.parametrize("at_once", [True, False])
def test_a_connected_channel_is_told_to_be_writable(engine: EngineLoop, at_once: bool) -> None:
    near, far = memory_pair(engine.reactor)
    ways = Ways(near if at_once else None)
    holder = leases(engine, ways).lease(None, TARGET, "").holder
    assert holder is not None
    told: list[object] = []
    channel = holder.open(0, b"", told.append)
    channel.on_writable = lambda: told.append("writable")
    if not at_once:
        ways.pending[0](near)
    engine.settle()
    assert told[:2] == [StreamStatus.CONNECTED, "writable"]
    channel.close()
    far.close()


def test_a_channel_that_was_given_up_ends_the_connect(engine: EngineLoop) -> None:
    ways = Ways()
    holder = leases(engine, ways).lease(None, TARGET, "").holder
    assert holder is not None
    told: list[object] = []
    holder.open(0, b"", told.append).abort()
    assert ways.cancelled == 1
    near, far = memory_pair(engine.reactor)
    ways.pending[0](near)  # a connector that was too late to stop
    engine.settle()
    assert not told
    far.abort()
