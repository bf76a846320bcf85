"""The registry of leases: the only place that grants addresses, so that an address never has two owners.

    free ──claim──> live ──session lost──> held ──grace over──> free
                     │  <──claim by owner── │
                     └──────release─────────┴──> free

An agent that leaves on purpose releases its address, and may request that it is held: others may claim it nevertheless.

A claim on a live address: by another identity → `name_taken` (`port_taken`). By the same identity → the holder is probed first;
silent → it is replaced, alive → `name_in_use`, unless the claim asks for `takeover`.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from portway.edge.lease import Holder, Kind, Lease, LeaseKey, Owner
from portway.errors import MisuseError, RefusedError, UnavailableError
from portway.protocol.control import codes

TUNNEL_IDS_MAX = 0xFFFFFFFF
"""A tunnel id is a u32 in every stream preamble (TLV 0xE0); ids are never reused, so this is the limit of grants per server start."""

YIELDING_MAX = 64
"""Addresses of one token that are held for agents that left on purpose. They do not count as the token's tunnels; each takes 1 kB
and perhaps an open port."""

EPOCH_MAX = 0xFFFFFFFFFFFFFFFF
"""Epochs are u64 on the wire."""


@dataclass(frozen=True, slots=True)
class Acquired:
    """The address was granted: visitors of `lease.key` go to the claiming session from now on."""

    lease: Lease
    replaced: Holder | None = None
    """The session that had the address until now; it must be notified and ended."""


@dataclass(frozen=True, slots=True)
class NeedsProbe:
    """A live session of the same identity has the address: probe `holder`, then claim again with the result."""

    lease: Lease
    holder: Holder
    epoch: int
    """Pass this as `silent_epoch` if the holder was silent; it is void once the address was granted again."""


def _ignore_change(_lease: Lease) -> None:
    """Default of `on_change`."""


class Registry:
    """All leases of this server.

    Every method is synchronous, so each call is atomic: no other task can see an incomplete change. With an `await` in here,
    claims could race.
    """

    def __init__(
        self,
        call_soon: Callable[[Callable[[], None]], None],
        *,
        grace_s: float = 60.0,
        first_epoch: int = 1,
        on_change: Callable[[Lease], None] = _ignore_change,
    ) -> None:
        """`call_soon` (the reactor's) runs a callback later; `grace_s` is how long addresses of a lost session are held.

        `on_change` is called at once for every lease that was granted, held or freed; it must not call the registry.
        """
        self._call_soon = call_soon
        self._on_change = on_change
        self._grace_s = grace_s
        self._leases: dict[Kind, dict[str, Lease]] = {"http": {}, "tcp": {}}
        self._by_session: dict[str, dict[LeaseKey, Lease]] = {}
        self._held: dict[LeaseKey, Lease] = {}
        self._by_token: dict[str, dict[LeaseKey, Lease]] = {}
        self._next_tunnel_id = 1
        self._next_epoch = first_epoch

    def lookup(self, kind: Kind, address: str) -> Lease | None:
        """Return the lease of an address (live or held), None when it is free."""
        return self._leases[kind].get(address)

    def __iter__(self) -> Iterator[Lease]:
        """Iterate over all leases; copy them to a list before changing any."""
        for leases in self._leases.values():
            yield from leases.values()

    def __len__(self) -> int:
        return sum(len(leases) for leases in self._leases.values())

    def count(self, token_id: str) -> int:
        """Return the number of addresses of a token, live and held; those with `yields` do not count."""
        return sum(not lease.yields for lease in self._by_token.get(token_id, {}).values())

    def held_tokens(self) -> set[str]:
        """Return the tokens with held addresses."""
        return {lease.owner.token_id for lease in self._held.values()}

    def claim(
        self,
        key: LeaseKey,
        owner: Owner,
        holder: Holder,
        *,
        takeover: bool = False,
        silent_epoch: int | None = None,
        passthrough: bool = False,
    ) -> Acquired | NeedsProbe:
        """Grant `key` to `holder` on behalf of `owner`, or return that the current holder must be probed first.

        `silent_epoch` is the epoch of a `NeedsProbe` whose holder was silent. Claiming an address that the session has already
        changes nothing and is not an error: a claim may be repeated after its link was lost. With another `passthrough` than
        before, it is another tunnel, which replaces the previous one.

        Raises:
            RefusedError: `name_taken`, `port_taken`: another identity has it.
        """
        lease = self.lookup(*key)
        if lease is not None and lease.yields and lease.owner != owner:
            self._drop(lease)
            lease = None
        if lease is None:
            lease = Lease(key, owner)
            self._grant(lease, holder, passthrough)
            self._leases[key.kind][key.address] = lease
            self._by_token.setdefault(owner.token_id, {})[key] = lease
            return Acquired(lease)
        if lease.owner != owner:
            raise taken(key)
        current = lease.holder
        if current is None:
            self._grant(lease, holder, passthrough)
            return Acquired(lease)
        if current.session_id == holder.session_id:
            if lease.passthrough != passthrough:
                self._grant(lease, holder, passthrough)
            return Acquired(lease)
        if takeover or silent_epoch == lease.epoch:
            self._grant(lease, holder, passthrough)
            return Acquired(lease, replaced=current)
        return NeedsProbe(lease, current, lease.epoch)

    def release(self, lease: Lease, epoch: int) -> bool:
        """Free an address at once, if `epoch` is still its epoch; return whether it was."""
        if lease.gone or lease.epoch != epoch:
            return False
        self._drop(lease)
        return True

    def release_held(self, lease: Lease, epoch: int, now: float) -> bool:
        """Hold an address whose agent leaves on purpose for the grace time, unless another one claims it; return whether it is held."""
        if lease.gone or lease.epoch != epoch or not self._grace_s:
            return False
        yielding = [one for one in self._by_token[lease.owner.token_id].values() if one.yields]
        for oldest in yielding[: max(0, len(yielding) - YIELDING_MAX + 1)]:
            self._drop(oldest)
        self._detach_holder(lease)
        lease.yields = True
        self._hold(lease, now)
        return True

    def session_lost(self, session_id: str, now: float) -> list[Lease]:
        """Hold the addresses of a lost session for the grace time; return their leases."""
        lost = self.of_session(session_id)
        for lease in lost:
            self._detach_holder(lease)
            self._hold(lease, now)
        return lost

    def session_ended(self, session_id: str) -> list[Lease]:
        """Free the addresses of a session that will not return; return their leases."""
        return self._drop_all(self.of_session(session_id))

    def token_revoked(self, token_id: str) -> list[Lease]:
        """Free all addresses of a token, including held ones; return their leases."""
        return self._drop_all(list(self._by_token.get(token_id, {}).values()))

    def expire(self, now: float) -> list[Lease]:
        """Free addresses that were held until `now` or earlier; return their leases."""
        return self._drop_all([lease for lease in self._held.values() if lease.held_until is None or lease.held_until <= now])

    def of_session(self, session_id: str) -> list[Lease]:
        """Return the live leases of one session."""
        return list(self._by_session.get(session_id, {}).values())

    def _grant(self, lease: Lease, holder: Holder, passthrough: bool) -> None:
        """Make `holder` serve `lease` with a new tunnel id and epoch, and wake the waiters."""
        if self._next_tunnel_id > TUNNEL_IDS_MAX:
            raise UnavailableError(f"all {TUNNEL_IDS_MAX} tunnel ids of this server run are used; restart the server")
        if self._next_epoch > EPOCH_MAX:
            raise MisuseError("the registry ran out of epochs")
        self._detach_holder(lease)
        lease.tunnel_id = self._next_tunnel_id
        lease.epoch = self._next_epoch
        self._next_tunnel_id += 1
        self._next_epoch += 1
        lease.holder = holder
        lease.passthrough = passthrough
        lease.yields = False
        lease.held_until = None
        self._held.pop(lease.key, None)
        self._by_session.setdefault(holder.session_id, {})[lease.key] = lease
        self._on_change(lease)
        self._wake(lease)

    def _hold(self, lease: Lease, now: float) -> None:
        lease.held_until = now + self._grace_s
        self._held[lease.key] = lease
        self._on_change(lease)

    def _detach_holder(self, lease: Lease) -> None:
        """Remove the lease from its holder, if it has one."""
        if lease.holder is None:
            return
        session_id = lease.holder.session_id
        self._call_soon(lease.detach_holder())
        del self._by_session[session_id][lease.key]
        if not self._by_session[session_id]:
            del self._by_session[session_id]

    def _drop_all(self, leases: list[Lease]) -> list[Lease]:
        """Free each of `leases`, and return them."""
        for lease in leases:
            self._drop(lease)
        return leases

    def _drop(self, lease: Lease) -> None:
        """Free the lease's address and wake the waiters."""
        self._detach_holder(lease)
        self._held.pop(lease.key, None)
        del self._leases[lease.key.kind][lease.key.address]
        del self._by_token[lease.owner.token_id][lease.key]
        if not self._by_token[lease.owner.token_id]:
            del self._by_token[lease.owner.token_id]
        lease.held_until = None
        lease.end()
        self._on_change(lease)
        self._wake(lease)

    def _wake(self, lease: Lease) -> None:
        """Pass all waiters to the reactor, once each."""
        woken = list(lease.waiters.values())
        lease.waiters.clear()
        for callback in woken:
            self._call_soon(callback)


def first_epoch(now: float) -> int:
    """Return the first epoch of a server that starts at `now` (`clock.wall`): above all epochs of earlier runs, without saving any."""
    return int(now * 1000) << 10


def taken(key: LeaseKey) -> RefusedError:
    """Return the refusal for an address of another identity."""
    if key.kind == "tcp":
        return RefusedError(
            codes.PORT_TAKEN, f"port {key.address} belongs to another agent", "Request another port, or none to get a free one."
        )
    return RefusedError(codes.NAME_TAKEN, f"{key.address} belongs to another agent", "Choose another name, or none to get a random one.")


def in_use(key: LeaseKey) -> RefusedError:
    """Return the refusal for an address that another live session of the same identity serves."""
    address = f"port {key.address}" if key.kind == "tcp" else key.address
    return RefusedError(codes.NAME_IN_USE, f"another running session of this agent uses {address}", "Stop it first, or use --takeover.")
