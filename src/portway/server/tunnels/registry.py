"""Which address belongs to whom right now: decided here alone, so that an address never has two owners.

    free ──claim──> live ──session lost──> held ──grace over──> free
                     │  <──claim by owner── │
                     └──────release─────────┴──> free

An agent that leaves on purpose releases its address, and may have it held all the same: for itself, unless somebody else claims it.

A claim on a live address: by another identity → `name_taken` (`port_taken`). By the same identity → the holder is probed first;
silent → it is replaced, alive → `name_in_use`, unless the claim says `takeover`.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from portway.errors import MisuseError, RefusedError, UnavailableError
from portway.protocol.control import codes
from portway.server.tunnels.lease import Holder, Kind, Lease, LeaseKey, Owner

TUNNEL_IDS_MAX = 0xFFFFFFFF
"""A tunnel id is a u32 in every stream preamble (TLV 0xE0); ids are never used twice, so this many grants a server start."""

KEPT_MAX = 64
"""Addresses of one token that are held for agents that left on purpose. They do not count as the token's tunnels, and are 1 kB
each, and perhaps an open port."""

EPOCH_MAX = 0xFFFFFFFFFFFFFFFF
"""Epochs are u64 on the wire."""


@dataclass(frozen=True, slots=True)
class Acquired:
    """The claim holds: visitors of `lease.key` go to the claimer from now on."""

    lease: Lease
    replaced: Holder | None = None
    """The session that had the address until now; it must be told and ended."""


@dataclass(frozen=True, slots=True)
class NeedsProbe:
    """The same identity holds the address live: ping `holder`, then claim again with what came out."""

    lease: Lease
    holder: Holder
    epoch: int
    """Pass this as `silent_epoch` when the holder stayed silent; it is worthless once anything else happened."""


def _nobody(_lease: Lease) -> None:
    """Stand in for nobody who wants to hear of changes."""


class Registry:
    """All leases of this node.

    Every method is synchronous, so each call is atomic: no other task can see a half-made change. Keep it so; add an
    `await` here and claims can race.
    """

    def __init__(
        self,
        call_soon: Callable[[Callable[[], None]], None],
        *,
        grace_s: float = 60.0,
        first_epoch: int = 1,
        on_change: Callable[[Lease], None] = _nobody,
    ) -> None:
        """`call_soon` runs a callback later (the reactor's); `grace_s` is how long a lost session's addresses are held.

        `on_change` hears of every lease that was granted, held or freed, at once; it must not call back into this.
        """
        self._soon = call_soon
        self._on_change = on_change
        self._grace_s = grace_s
        self._leases: dict[Kind, dict[str, Lease]] = {"http": {}, "tcp": {}}
        self._by_session: dict[str, dict[LeaseKey, Lease]] = {}
        self._held: dict[LeaseKey, Lease] = {}
        self._by_token: dict[str, dict[LeaseKey, Lease]] = {}
        self._next_tunnel_id = 1
        self._next_epoch = first_epoch

    def lookup(self, kind: Kind, address: str) -> Lease | None:
        """Return the lease of an address (live or held), or None when nobody has it."""
        return self._leases[kind].get(address)

    def __iter__(self) -> Iterator[Lease]:
        """Walk over all leases; take a list of them before changing anything."""
        for leases in self._leases.values():
            yield from leases.values()

    def __len__(self) -> int:
        return sum(len(leases) for leases in self._leases.values())

    def count(self, token_id: str) -> int:
        """Return how many addresses a token has, live and held together; those that yield to anybody do not count."""
        return sum(not lease.yields for lease in self._by_token.get(token_id, {}).values())

    def held_tokens(self) -> set[str]:
        """Return the tokens for which an address is held."""
        return {lease.owner.token_id for lease in self._held.values()}

    def claim(
        self, key: LeaseKey, owner: Owner, holder: Holder, *, takeover: bool = False, silent_epoch: int | None = None
    ) -> Acquired | NeedsProbe:
        """Give `key` to `holder` on behalf of `owner`, or say that the present holder must be probed first.

        `silent_epoch` is the epoch of a `NeedsProbe` whose holder stayed silent. Claiming what the session has already
        changes nothing and is no error: a claim may come again after the link that brought it died.

        Raises:
            RefusedError: `name_taken`, `port_taken`: another identity has it.
        """
        lease = self.lookup(*key)
        if lease is not None and lease.yields and lease.owner != owner:
            self._drop(lease)
            lease = None
        if lease is None:
            lease = Lease(key, owner)
            self._grant(lease, holder)
            self._leases[key.kind][key.address] = lease
            self._by_token.setdefault(owner.token_id, {})[key] = lease
            return Acquired(lease)
        if lease.owner != owner:
            raise taken(key)
        present = lease.holder
        if present is None:
            self._grant(lease, holder)
            return Acquired(lease)
        if present.session_id == holder.session_id:
            return Acquired(lease)
        if takeover or silent_epoch == lease.epoch:
            self._grant(lease, holder)
            return Acquired(lease, replaced=present)
        return NeedsProbe(lease, present, lease.epoch)

    def release(self, lease: Lease, epoch: int) -> bool:
        """Free an address at once, if `epoch` is still its epoch; return whether it was."""
        if lease.gone or lease.epoch != epoch:
            return False
        self._drop(lease)
        return True

    def keep(self, lease: Lease, epoch: int, now: float) -> bool:
        """Hold an address whose agent leaves on purpose for the grace time, unless somebody else claims it; return whether it is held."""
        if lease.gone or lease.epoch != epoch or not self._grace_s:
            return False
        kept = [one for one in self._by_token[lease.owner.token_id].values() if one.yields]
        for oldest in kept[: max(0, len(kept) - KEPT_MAX + 1)]:
            self._drop(oldest)
        self._unhand(lease)
        lease.yields = True
        self._hold(lease, now)
        return True

    def session_lost(self, session_id: str, now: float) -> list[Lease]:
        """Hold what a lost session had for the grace time; return those leases."""
        lost = self.of_session(session_id)
        for lease in lost:
            self._unhand(lease)
            self._hold(lease, now)
        return lost

    def session_ended(self, session_id: str) -> list[Lease]:
        """Free what a session had, because it will not come back; return those leases."""
        return self._drop_all(self.of_session(session_id))

    def token_revoked(self, token_id: str) -> list[Lease]:
        """Free everything that a token has, held addresses too; return those leases."""
        return self._drop_all(list(self._by_token.get(token_id, {}).values()))

    def expire(self, now: float) -> list[Lease]:
        """Free what was held until `now` or earlier; return those leases."""
        return self._drop_all([lease for lease in self._held.values() if lease.held_until is None or lease.held_until <= now])

    def of_session(self, session_id: str) -> list[Lease]:
        """Return the live leases of one session."""
        return list(self._by_session.get(session_id, {}).values())

    def _grant(self, lease: Lease, holder: Holder) -> None:
        """Make `holder` serve `lease` under a new tunnel id and epoch, and wake who waited for that."""
        if self._next_tunnel_id > TUNNEL_IDS_MAX:
            raise UnavailableError(f"all {TUNNEL_IDS_MAX} tunnel ids were given out since this server started; start it again")
        if self._next_epoch > EPOCH_MAX:
            raise MisuseError("the registry ran out of epochs")
        self._unhand(lease)
        lease.tunnel_id = self._next_tunnel_id
        lease.epoch = self._next_epoch
        self._next_tunnel_id += 1
        self._next_epoch += 1
        lease.holder = holder
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

    def _unhand(self, lease: Lease) -> None:
        """Take the lease out of its holder's hands, if it has one."""
        if lease.holder is None:
            return
        session_id = lease.holder.session_id
        self._soon(lease.part())
        del self._by_session[session_id][lease.key]
        if not self._by_session[session_id]:
            del self._by_session[session_id]

    def _drop_all(self, leases: list[Lease]) -> list[Lease]:
        """Drop each of `leases`, and return them."""
        for lease in leases:
            self._drop(lease)
        return leases

    def _drop(self, lease: Lease) -> None:
        """Free the lease's address and wake who waited in vain."""
        self._unhand(lease)
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
        """Hand all waiters to the reactor, once each."""
        woken = list(lease.waiters.values())
        lease.waiters.clear()
        for callback in woken:
            self._soon(callback)


def first_epoch(now: float) -> int:
    """Return the first epoch of a server that starts at `now` (`clock.wall`): above all epochs of earlier runs, without saving any."""
    return int(now * 1000) << 10


def taken(key: LeaseKey) -> RefusedError:
    """Return the refusal for an address that belongs to somebody else."""
    if key.kind == "tcp":
        return RefusedError(codes.PORT_TAKEN, f"port {key.address} belongs to another agent", "Ask for another port, or for any free one.")
    return RefusedError(codes.NAME_TAKEN, f"{key.address} belongs to another agent", "Choose another name, or none to get a random one.")


def in_use(key: LeaseKey) -> RefusedError:
    """Return the refusal for an address that another live session of the same identity serves."""
    what = f"port {key.address}" if key.kind == "tcp" else key.address
    return RefusedError(
        codes.NAME_IN_USE, f"another running agent of yours serves {what}", "Stop that one first, or take over with --takeover."
    )
