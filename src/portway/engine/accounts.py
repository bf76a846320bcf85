"""Fair queueing of turns: queued work is charged to accounts, and the account that used the least of its share is served next.

Start-time fair queueing (Goyal, Vin, Cheng 1996) in a tree of accounts, because the cost of a turn is known only afterwards. Each
account has a start tag, its used time divided by its weight; the account with the lowest tag is served. An account that was idle
starts at the virtual time of its parent, so idle time cannot be saved up. A turn costs one or two heap operations per tree level.
"""

from collections import deque
from collections.abc import Callable
from heapq import heappop, heappush

Turn = Callable[[], None]


class Account:
    """Has a share of its parent's time, in proportion to its weight; it has turns or children, never both.

    Parents keep no list of their children: an idle account lives as long as something refers to it.
    """

    __slots__ = (
        "__weakref__",
        "heap",
        "number",
        "parent",
        "start_tag",
        "tenant",
        "tenant_round",
        "turns",
        "virtual_time",
        "waiting",
        "weight",
    )

    def __init__(self, parent: "Account | None" = None, weight: float = 1.0, *, tenant: bool = False) -> None:
        """Create an account below `parent`. `tenant`: it competes with others as one unit (a token, a session, a source)."""
        self.parent = parent
        self.weight = weight
        self.start_tag = 0.0
        self.virtual_time = 0.0
        """The start tag of the child that was served last."""
        self.heap: list[tuple[float, int, Account]] = []
        """Waiting children by start tag, then in order of arrival. Empty when no turn is queued below this account."""
        self.number = 0
        self.turns: deque[Turn] = deque()
        self.waiting = False
        """True while turns of this account or of one below it are queued or running."""
        self.tenant: Account | None = None if tenant or parent is None else parent.tenant or parent
        """The tenant above this account; None if this account is one itself."""
        self.tenant_round = -1
        """The last reactor round in which this tenant took a sizeable turn without queueing."""

    def child(self, weight: float = 1.0, *, tenant: bool = False) -> "Account":
        """Return a new account below this one."""
        return Account(self, weight, tenant=tenant)

    def add(self, turn: Turn) -> None:
        """Queue a turn behind the others of this account."""
        self.turns.append(turn)
        account = self
        while (parent := account.parent) is not None and not account.waiting:
            account.waiting = True
            account.start_tag = max(account.start_tag, parent.virtual_time)
            parent.number += 1
            heappush(parent.heap, (account.start_tag, parent.number, account))
            account = parent

    # What the reactor does with the root.

    def take(self) -> "tuple[Account, Turn]":
        """Take out the next turn, with its account; call `charge` on that account after the turn, before the next `take`."""
        account = self
        while account.heap:
            account.virtual_time, _, account = heappop(account.heap)
        return account, account.turns.popleft()

    def charge(self, seconds: float) -> None:
        """Charge this account, and all above it, for the turn that was taken last."""
        account = self
        while (parent := account.parent) is not None:
            account.start_tag += seconds / account.weight
            if account.heap or account.turns:
                parent.number += 1
                heappush(parent.heap, (account.start_tag, parent.number, account))
            else:
                account.waiting = False
                if not parent.heap:
                    parent.virtual_time = max(parent.virtual_time, account.start_tag)
            account = parent
