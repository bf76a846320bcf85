"""Fair turns: queued work is charged to accounts, and whoever has used least of its share is served next.

Start-time fair queueing (Goyal, Vin, Cheng 1996) in a tree of accounts, as the costs of turns are known only afterwards. Each
account has a tag, the time that it has used over its weight; the one with the lowest tag is served. An account that was idle
starts at its parent's virtual time, so nobody saves up. A turn costs a heap operation or two for each level of the tree.
"""

from collections import deque
from collections.abc import Callable
from heapq import heappop, heappush

Turn = Callable[[], None]


class Account:
    """Has a share of its parent's time, in proportion to its weight; it has turns or children, never both.

    Nobody keeps a list of the children: one that waits for nothing lives as long as somebody refers to it.
    """

    __slots__ = ("__weakref__", "heap", "number", "parent", "party", "party_round", "tag", "turns", "virtual", "waiting", "weight")

    def __init__(self, parent: "Account | None" = None, weight: float = 1.0, *, party: bool = False) -> None:
        """Stand below `parent`. `party`: this account is a tenant, a source, or whoever else competes with others."""
        self.parent = parent
        self.weight = weight
        self.tag = 0.0
        self.virtual = 0.0
        """The tag of the child that was served last."""
        self.heap: list[tuple[float, int, Account]] = []
        """Children that wait, by their tags; equal ones in the order in which they came. Empty when no turn is queued below."""
        self.number = 0
        self.turns: deque[Turn] = deque()
        self.waiting = False
        """True while turns of this account or of one below it are queued, or one of them is running."""
        self.party: Account | None = None if party or parent is None else parent.party or parent
        """The account above this one that competes with others; None: this one does itself."""
        self.party_round = -1
        """The last round of the reactor in which this party took a sizeable turn without queueing."""

    def child(self, weight: float = 1.0, *, party: bool = False) -> "Account":
        """Return a new account below this one."""
        return Account(self, weight, party=party)

    def add(self, turn: Turn) -> None:
        """Queue a turn, behind the others of this account."""
        self.turns.append(turn)
        account = self
        while (parent := account.parent) is not None and not account.waiting:
            account.waiting = True
            account.tag = max(account.tag, parent.virtual)
            parent.number += 1
            heappush(parent.heap, (account.tag, parent.number, account))
            account = parent

    # What the reactor does with the root.

    def take(self) -> "tuple[Account, Turn]":
        """Take out the next turn, with its account; `charge` that account when the turn is over, before the next `take`."""
        account = self
        while account.heap:
            account.virtual, _, account = heappop(account.heap)
        return account, account.turns.popleft()

    def charge(self, seconds: float) -> None:
        """Charge this account, and all above it, for the turn that was taken last."""
        account = self
        while (parent := account.parent) is not None:
            account.tag += seconds / account.weight
            if account.heap or account.turns:
                parent.number += 1
                heappush(parent.heap, (account.tag, parent.number, account))
            else:
                account.waiting = False
                if not parent.heap:
                    parent.virtual = max(parent.virtual, account.tag)
            account = parent
