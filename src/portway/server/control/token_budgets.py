"""Memory budgets shared by all links of one token in this process."""

from collections.abc import Callable
from weakref import WeakValueDictionary

from portway.engine.memory_budget import MemoryBudget
from portway.mux.buffer_budget import ProcessBufferBudget

TOKEN_BYTES_MAX = 256 * 1024 * 1024
"""Data that links of a token buffer for slow visitors and slow agents, and their control messages: half of the budget of all links
of a process (mux/buffer_budget.py), so that one tenant never uses all of it; a thousand stalled readers of 256 KiB."""

CONTROL_BYTES_MAX = 8 * 1024 * 1024
"""Part of it for queued control messages and unread replies. Enough for a thousand agents after a restart
(session_manager.SESSIONS_PER_TOKEN_MAX) with forty claims each; the claims of one agent with a thousand tunnels take 0.2 MB."""


class TokenBudget:
    """The budgets of one token's links."""

    def __init__(self, total: MemoryBudget) -> None:
        """Create budgets within `total`."""
        self.all = MemoryBudget(TOKEN_BYTES_MAX, total)
        self.control = MemoryBudget(CONTROL_BYTES_MAX, self.all)


class TokenBudgets:
    """One budget per token with sessions; it lives as long as any of them."""

    def __init__(self, total: MemoryBudget | None = None) -> None:
        """Start empty; all budgets count in `total`."""
        self.total = ProcessBufferBudget() if total is None else total
        self._budgets: WeakValueDictionary[str, TokenBudget] = WeakValueDictionary()

    def of(self, token_id: str) -> TokenBudget:
        """Return the budget of a token."""
        budget = self._budgets.get(token_id)
        if budget is None:
            budget = self._budgets[token_id] = TokenBudget(self.total)
        return budget


class OutputAccount:
    """Unsent bytes of one link, as of the last update; `MemoryBudget` chooses the link to end when they exceed the budget."""

    def __init__(self, budget: MemoryBudget, end: Callable[[str], None]) -> None:
        """Count in `budget`; `end` ends the link for a reason given as text."""
        self.bytes = 0
        self._budget = budget
        self._end = end

    def update(self, count: int) -> None:
        """Set the number of unsent bytes to `count`."""
        change, self.bytes = count - self.bytes, count
        if change:
            self._budget.count(self, change)

    def evict(self) -> None:
        """End the link: its agent reads too slowly."""
        reason = f"{self.bytes} bytes are unread by the agent; all links of its token may buffer {self._budget.bytes_max} together"
        self.update(0)
        self._end(reason)
