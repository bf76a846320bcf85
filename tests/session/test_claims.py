"""The agent's claims: asked again after every reconnect, for the same address, and never a stream for anything else."""

import pytest

from portway.errors import PeerError
from portway.protocol.control.messages import Granted, Refused
from portway.session.claims import Claims, TunnelClaim


def grant(request_id: int, tunnel: int, name: str = "", port: int = 0) -> Granted:
    return Granted(id=request_id, tunnel=tunnel, epoch=1, url="x", name=name, port=port)


def test_after_a_lost_session_the_granted_name_and_port_are_claimed_again() -> None:
    claims: Claims[str] = Claims(
        [TunnelClaim("http", "site"), TunnelClaim("tcp", "db"), TunnelClaim("http", "own", host="www.example.org")]
    )
    first = claims.pending()
    assert [(c.name, c.host, c.port) for c in first] == [("", "", 0), ("", "", 0), ("", "www.example.org", 0)]
    claims.apply_reply(grant(first[0].id, 1, name="swift-otter"))
    claims.apply_reply(grant(first[1].id, 2, port=20001))
    claims.apply_reply(grant(first[2].id, 3, name="www.example.org"))
    assert claims.complete()
    claims.session_lost()
    assert not claims.complete()
    again = claims.pending()
    assert [(c.name, c.host, c.port) for c in again] == [("swift-otter", "", 0), ("", "", 20001), ("", "www.example.org", 0)]


def test_assigned_addresses_are_claimed_again_with_their_seed() -> None:
    claims: Claims[str] = Claims(
        [TunnelClaim("http", "site", seed=b"s"), TunnelClaim("http", "shop", seed=b"t"), TunnelClaim("tcp", "db", seed=b"u")]
    )
    first = claims.pending()
    assert [c.seed for c in first] == [b"s", b"t", b"u"]
    claims.apply_reply(grant(first[0].id, 1, name="swift-otter"))
    claims.apply_reply(grant(first[1].id, 2, name="swift-otter.shop.test"))
    claims.apply_reply(grant(first[2].id, 3, port=20001))
    claims.session_lost()
    second = claims.pending()
    assert [(c.name, c.host, c.port, c.seed) for c in second] == [
        ("swift-otter", "", 0, b"s"),
        ("", "swift-otter.shop.test", 0, b"t"),
        ("", "", 20001, b"u"),
    ]
    claims.apply_reply(grant(second[1].id, 4, name="calm-owl"))
    claims.session_lost()
    assert [(c.name, c.host) for c in claims.pending()][1] == ("calm-owl", "")
    assert "seed" not in repr(next(iter(claims)))


def test_takeover_applies_once() -> None:
    claims: Claims[str] = Claims([TunnelClaim("http", "site", name="app", takeover=True)])
    (first,) = claims.pending()
    assert first.takeover
    claims.apply_reply(grant(first.id, 1, name="app"))
    claims.session_lost()
    (again,) = claims.pending()
    assert not again.takeover


def test_a_claim_without_a_reply_keeps_its_takeover() -> None:
    claims: Claims[str] = Claims([TunnelClaim("http", "site", name="app", takeover=True)])
    claims.pending()
    claims.session_lost()
    (again,) = claims.pending()
    assert again.takeover


def test_only_granted_tunnels_of_this_session_are_exported() -> None:
    claims: Claims[str] = Claims([TunnelClaim("http", "site")])
    (first,) = claims.pending()
    assert claims.exported(7) is None
    claims.apply_reply(grant(first.id, 7, name="a"))
    claim = claims.exported(7)
    assert claim is not None
    assert claim.subject == "site"
    assert claims.tunnel_ids() == [7]
    claims.session_lost()
    assert claims.exported(7) is None


def test_pending_claims_are_repeated_with_the_same_id_and_granted_once() -> None:
    claims: Claims[str] = Claims([TunnelClaim("http", "a"), TunnelClaim("http", "b")])
    first = claims.pending()
    claims.apply_reply(grant(first[0].id, 1, name="a"))
    assert claims.pending() == [first[1]]
    assert claims.unanswered == 1
    claims.apply_reply(grant(first[1].id, 2, name="b"))
    assert claims.complete()
    assert claims.apply_reply(grant(first[1].id, 2, name="b")) is None
    assert claims.unanswered == 0


def test_replies_with_ids_of_another_session_are_ignored() -> None:
    claims: Claims[str] = Claims([TunnelClaim("http", "a")])
    (first,) = claims.pending()
    claims.session_lost()
    (again,) = claims.pending()
    assert again.id != first.id
    assert claims.apply_reply(grant(first.id, 1, name="late")) is None
    assert claims.exported(1) is None


def test_dropped_claims_are_not_repeated() -> None:
    claims: Claims[str] = Claims([TunnelClaim("http", "a"), TunnelClaim("http", "b")])
    first = claims.pending()
    claim = claims.apply_reply(Refused(id=first[0].id, code="name_taken", reason="no"))
    assert claim is not None
    claims.drop(claim)
    claims.session_lost()
    assert [claim.kind for claim in claims.pending()] == ["http"]
    assert [claim.subject for claim in claims] == ["b"]


def test_a_refusal_returns_its_claim() -> None:
    claims: Claims[str] = Claims([TunnelClaim("tcp", "db", port=22)])
    (first,) = claims.pending()
    claim = claims.apply_reply(Refused(id=first.id, code="port_not_allowed", reason="no"))
    assert claim is not None
    assert claim.granted is None
    assert claims.apply_reply(Refused(id=first.id, code="port_not_allowed", reason="no")) is None


def test_one_tunnel_for_two_claims_is_a_protocol_error() -> None:
    claims: Claims[str] = Claims([TunnelClaim("http", "a", name="app"), TunnelClaim("http", "b", name="app")])
    first = claims.pending()
    claims.apply_reply(grant(first[0].id, 1, name="app"))
    with pytest.raises(PeerError, match="twice"):
        claims.apply_reply(grant(first[1].id, 1, name="app"))
