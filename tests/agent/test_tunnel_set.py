"""Changes of a running agent's tunnels, and the messages that they lead to."""

from portway.agent.events import TunnelsChanged
from portway.agent.settings import TunnelRequest
from portway.agent.target import Target
from portway.agent.tunnel_set import TunnelChanges, TunnelSet, changes_between, claim_for
from portway.engine.policy import Policy
from portway.protocol.control.messages import Granted
from portway.session.claims import Claims

IDENTITY = b"i" * 32


def request(label: str, port: int = 3000, **asked: object) -> TunnelRequest:
    return TunnelRequest(kind="http", target=Target("localhost", port), label=label, **asked)  # type: ignore[arg-type]


def labels(requests: tuple[TunnelRequest, ...]) -> list[str]:
    return [one.label for one in requests]


def grant(claims: Claims[TunnelRequest]) -> list[int]:
    """Grant every pending claim, and return the tunnel ids."""
    ids = []
    for claim in claims.pending():
        ids.append(100 + claim.id)
        claims.apply_reply(Granted(id=claim.id, epoch=1, tunnel=100 + claim.id, name=claim.name or "calm-otter", url="http://x", port=0))
    return ids


class Stage:
    """An online agent with tunnels."""

    def __init__(self, *requests: TunnelRequest) -> None:
        self.claims = Claims([claim_for(one, IDENTITY) for one in requests])
        self.events: list[object] = []
        self.changes: list[TunnelChanges] = []
        self.tunnels = TunnelSet(self.claims, IDENTITY, self.events.append, self.changes.append)
        self.ids = grant(self.claims)


def test_equal_requests_are_no_change_though_they_are_other_objects() -> None:
    old = [request("a", policy=Policy(idle_timeout_s=5.0)), request("b")]
    new = [request("b"), request("a", policy=Policy(idle_timeout_s=5.0))]
    assert not changes_between(old, new)


def test_each_difference_is_a_change_of_its_label() -> None:
    changes = changes_between([request("a"), request("b"), request("c")], [request("a", 3001), request("c"), request("d")])
    assert (labels(changes.added), labels(changes.changed), labels(changes.removed)) == (["d"], ["a"], ["b"])


def test_only_what_changed_is_released_and_claimed() -> None:
    stage = Stage(request("a", name="a"), request("b", name="b"), request("c", name="c"))
    stage.tunnels.replace([request("a", name="a"), request("b", 3001, name="b"), request("d", name="d")])

    assert {(one.tunnel, one.keep) for one in stage.claims.releases()} == {(stage.ids[1], True), (stage.ids[2], False)}
    assert [claim.name for claim in stage.claims.pending()] == ["d", "b"]
    assert stage.events == [TunnelsChanged(("d",), ("b",), ("c",))]
    assert [labels(changes.changed) for changes in stage.changes] == [["b"]]


def test_a_released_tunnel_accepts_streams_until_the_server_has_confirmed() -> None:
    stage = Stage(request("a"))
    stage.tunnels.replace([])
    (release,) = stage.claims.releases()
    assert stage.claims.exported(stage.ids[0]) is not None

    assert stage.claims.releases() == [release], "repeated on another link with the same id"
    closed = stage.claims.on_released(release.id)

    assert closed is not None
    assert closed.subject.label == "a"
    assert stage.claims.exported(stage.ids[0]) is None
    assert stage.claims.releases() == []
    assert stage.claims.on_released(release.id) is None


def test_a_claim_that_was_withdrawn_before_its_grant_is_released_after_it() -> None:
    claims = Claims([claim_for(request("a"), IDENTITY)])
    tunnels = TunnelSet(claims, IDENTITY, lambda _: None, lambda _: None)
    (message,) = claims.pending()
    tunnels.replace([])
    assert claims.releases() == []

    claims.apply_reply(Granted(id=message.id, epoch=1, tunnel=9, name="x", url="http://x", port=0))

    assert [(one.tunnel, one.keep) for one in claims.releases()] == [(9, False)]


def test_a_changed_tunnel_with_a_name_from_the_server_keeps_it() -> None:
    stage = Stage(request("a"))
    stage.tunnels.replace([request("a", 3001)])
    assert [claim.name for claim in stage.claims.pending()] == ["calm-otter"]


def test_a_tunnel_that_asks_for_another_name_gets_that_one() -> None:
    stage = Stage(request("a"))
    stage.tunnels.replace([request("a", name="mine")])
    assert [claim.name for claim in stage.claims.pending()] == ["mine"]


def test_without_a_session_the_next_one_claims_the_new_tunnels_only() -> None:
    stage = Stage(request("a", name="a"))
    stage.claims.session_lost()
    stage.tunnels.replace([request("b", name="b")])
    assert stage.claims.releases() == []
    assert [claim.name for claim in stage.claims.pending()] == ["b"]
