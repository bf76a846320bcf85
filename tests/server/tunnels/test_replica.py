"""A worker's replica of the registry: addresses are served here, by another worker, or by none."""

from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from portway.edge.lease import Holder, Lease, OnStatus, Owner
from portway.engine.accounts import Account
from portway.engine.channel import Channel
from portway.server.tunnels.replica import Replica, Route


class View:
    """A replica, and its reports and callbacks."""

    def __init__(self) -> None:
        self.sessions: dict[str, Holder] = {}
        self.call_soon: list[Callable[[], None]] = []
        self.reported: list[str] = []
        self.replica = Replica(
            1,
            self.call_soon.append,
            self.sessions.get,
            report_lost=self.reported.append,
            report_revoked=lambda token: self.reported.append(f"token {token}"),
            on_moved=lambda host: self.reported.append(f"{host} moved"),
        )

    def session(self, session_id: str) -> None:
        self.sessions[session_id] = FakeHolder(session_id)

    def lease(self, address: str = "app.localhost") -> Lease:
        lease = self.replica.lookup("http", address)
        assert lease is not None
        return lease


class FakeHolder:
    """A holder that serves no streams."""

    def __init__(self, session_id: str) -> None:
        self.session_id = session_id
        self.account = Account()

    def open(self, tunnel_id: int, header: bytes, on_status: OnStatus) -> Channel:
        raise AssertionError

    def record_request(self, tunnel_id: int, method: str, path: str, status: int, seconds: float, cut: str = "") -> None:
        raise AssertionError


def route(worker: int, session: str = "", epoch: int = 1) -> Route:
    return Route("http", "app.localhost", 7, epoch, worker, session)


def test_a_host_that_another_worker_serves_is_reported() -> None:
    view = View()
    view.session("a")
    view.replica.apply(route(1, "a"))
    view.replica.apply(route(0))
    assert view.reported == []
    view.replica.apply(route(2, "b"))
    view.replica.apply(Route("tcp", "20001", 8, 2, 2, "b"))
    assert view.reported == ["app.localhost moved"]


def test_a_route_is_local_remote_or_held() -> None:
    view = View()
    view.session("a")
    view.replica.apply(route(1, "a"))
    assert (view.lease().holder, view.lease().remote_worker, view.lease().tunnel_id) == (view.sessions["a"], 0, 7)

    view.replica.apply(route(2, "b", epoch=2))
    assert (view.lease().holder, view.lease().remote_worker, view.lease().epoch) == (None, 2, 2)

    view.replica.apply(route(0, epoch=3))
    assert (view.lease().holder, view.lease().remote_worker, view.lease().gone) == (None, 0, False)
    assert len(view.replica) == 1


def test_a_lease_stays_the_same_object_until_it_is_gone() -> None:
    view = View()
    first = view.replica.apply(route(2, "b"))
    assert view.replica.apply(route(0)) is first
    ends: list[str] = []
    first.on_gone = lambda: ends.append("gone")

    view.replica.remove("http", "app.localhost")
    view.replica.remove("http", "app.localhost")

    assert ends == ["gone"]
    assert (first.gone, first.remote_worker, view.replica.lookup("http", "app.localhost")) == (True, 0, None)
    assert view.replica.apply(route(2, "b")) is not first


def test_waiters_are_woken_when_a_holder_appears_or_the_address_is_free() -> None:
    for is_gone in (False, True):
        view = View()
        lease = view.replica.apply(route(0))
        lease.waiters["me"] = lambda: None
        view.replica.apply(route(0, epoch=2))
        assert not view.call_soon
        if is_gone:
            view.replica.remove("http", "app.localhost")
        else:
            view.replica.apply(route(2, "b"))
        assert len(view.call_soon) == 1
        assert not lease.waiters


def test_a_lost_session_serves_no_visitors_from_that_moment_on() -> None:
    view = View()
    view.session("a")
    view.replica.apply(route(1, "a"))
    del view.sessions["a"]

    view.replica.session_lost("a", 1.0)

    assert view.reported == ["a"]
    assert view.lease().holder is None
    view.replica.apply(route(1, "a"))  # sent before the supervisor received the report
    assert (view.lease().holder, view.lease().remote_worker) == (None, 0)


def test_the_end_of_a_session_does_not_affect_addresses_that_it_had_lost_before() -> None:
    view = View()
    view.session("a")
    view.session("b")
    view.replica.apply(route(1, "a"))
    view.replica.apply(route(1, "b", epoch=2))

    view.replica.session_lost("a", 1.0)

    assert view.lease().holder is view.sessions["b"]


def test_no_handoff_to_a_worker_that_is_gone() -> None:
    view = View()
    view.replica.apply(route(2, "b"))
    view.replica.worker_lost(3)
    assert view.lease().remote_worker == 2
    view.replica.worker_lost(2)
    assert view.lease().remote_worker == 0


def test_decisions_of_the_supervisor_are_left_to_it() -> None:
    view = View()
    view.replica.apply(route(0))
    view.replica.expire(1e9)
    view.replica.token_revoked("laptop")

    assert view.reported == ["token laptop"]
    assert not view.replica.held_tokens()
    assert len(list(view.replica)) == 1


def test_a_worker_has_the_token_of_a_lease_but_no_identity() -> None:
    view = View()
    view.replica.apply(Route("http", "app.localhost", 7, 1, token_id="laptop"))
    assert view.lease().owner == Owner("laptop", b"")


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("route"), st.sampled_from("abcd"), st.integers(0, 2), st.sampled_from("xyz")),
            st.tuples(st.sampled_from(["gone", "lost"]), st.sampled_from("abcd"), st.just(0), st.sampled_from("xyz")),
        ),
        max_size=80,
    )
)
def test_a_session_has_exactly_its_leases_in_the_table(steps: list[tuple[str, str, int, str]]) -> None:
    view = View()
    for session in "xyz":
        view.session(session)
    for epoch, (what, address, worker, session) in enumerate(steps):
        if what == "route":
            view.replica.apply(Route("http", address, 7, epoch, worker, session))
        elif what == "gone":
            view.replica.remove("http", address)
        else:
            view.replica.session_lost(session, 1.0)
        served: dict[str, set[str]] = {}
        for lease in view.replica:
            if lease.holder is not None:
                served.setdefault(lease.holder.session_id, set()).add(lease.address)
        kept = {session: {key.address for key in leases} for session, leases in view.replica._of_session.items()}
        assert kept == served


def test_another_tunnel_of_the_same_session_drops_what_was_prepared_for_the_first() -> None:
    view, lost = View(), list[str]()
    view.session("a")
    lease = view.replica.apply(route(1, "a"))
    assert (lease.passthrough, lease.protocol) == (False, "http")
    lease.on_holder_lost = lambda: lost.append("lost")
    view.replica.apply(route(1, "a"))
    assert not view.call_soon

    view.replica.apply(Route("http", "app.localhost", 8, 2, 1, "a", passthrough=True))
    for callback in view.call_soon:
        callback()

    assert (lease.passthrough, lease.protocol, lease.tunnel_id, lost) == (True, "tls", 8, ["lost"])
    assert lease.holder is view.sessions["a"]
    view.replica.session_lost("a", 0.0)
    assert lease.holder is None
