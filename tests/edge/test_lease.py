"""The repr of a lease."""

from portway.edge.lease import Lease, LeaseKey, Owner


def test_a_lease_repr_has_its_state_and_no_secret() -> None:
    lease = Lease(LeaseKey("http", "app.localhost"), Owner("laptop", b"secret-identity"))
    lease.held_until = 65.0
    assert lease.address == "app.localhost"
    assert "app.localhost" in repr(lease)
    assert "65.0" in repr(lease)
    assert "secret-identity" not in repr(lease)
    lease.on_gone()
    lease.gone = True
    assert "gone" in repr(lease)
