"""The memory that all links of one token may take together, in this process."""

from collections.abc import Callable
from weakref import WeakValueDictionary

from portway.engine.memory_budget import MemoryBudget
from portway.mux.buffer_budget import ProcessBufferBudget

TOKEN_BYTES_MAX = 256 * 1024 * 1024
"""What links of a token keep for slow visitors and slow agents, and their control messages: half of what all links of a
process may (mux/buffer_budget.py), so that one tenant never takes all of it; a thousand stalled readers of 256 KiB."""

CONTROL_BYTES_MAX = 8 * 1024 * 1024
"""Of that, control messages that wait for their turn, and answers that nobody reads. A thousand agents after a restart
(sessions.SESSIONS_PER_TOKEN_MAX) with forty claims each; one agent with a thousand tunnels asks with 0.2 MB."""


class TokenBudget:
    """What the links of one token may keep."""

    def __init__(self, total: MemoryBudget) -> None:
        """Be a part of `total`."""
        self.all = MemoryBudget(TOKEN_BYTES_MAX, total)
        self.control = MemoryBudget(CONTROL_BYTES_MAX, self.all)


class TokenBudgets:
    """One budget for each token that has sessions; it lives as long as any of them."""

    def __init__(self, total: MemoryBudget | None = None) -> None:
        """Start with none; all together keep no more than `total`."""
        self.total = ProcessBufferBudget() if total is None else total
        self._budgets: WeakValueDictionary[str, TokenBudget] = WeakValueDictionary()

    def of(self, token_id: str) -> TokenBudget:
        """Return the budget of a token."""
        budget = self._budgets.get(token_id)
        if budget is None:
            budget = self._budgets[token_id] = TokenBudget(self.total)
        return budget


class OutputAccount:
    """What waits for one link to take it, as it was when somebody looked last; see `MemoryBudget` for who has to go."""

    def __init__(self, budget: MemoryBudget, end: Callable[[str], None]) -> None:
        """Count in `budget`; `end` ends the link for a reason, in words."""
        self.bytes = 0
        self._budget = budget
        self._end = end

    def update(self, count: int) -> None:
        """Count `count` bytes from now on."""
        change, self.bytes = count - self.bytes, count
        if change:
            self._budget.count(self, change)

    def evict(self) -> None:
        """End the link: its agent reads too little of what it is sent."""
        reason = f"{self.bytes} bytes wait for the agent to read them; all links of its token may keep {self._budget.bytes_max} together"
        self.update(0)
        self._end(reason)
