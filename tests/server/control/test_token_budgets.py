"""Budgets of tokens: one for all sessions of a token, within one total; links with too many unread bytes are ended."""

import gc

from portway.engine.memory_budget import MemoryBudget
from portway.server.control.token_budgets import CONTROL_BYTES_MAX, TOKEN_BYTES_MAX, OutputAccount, TokenBudgets


def test_all_sessions_of_a_token_share_one_budget_that_lives_as_long_as_they_do() -> None:
    budgets = TokenBudgets()
    first = budgets.of("laptop")
    assert budgets.of("laptop") is first
    assert budgets.of("another") is not first
    assert (first.all.bytes_max, first.control.bytes_max) == (TOKEN_BYTES_MAX, CONTROL_BYTES_MAX)
    del first
    gc.collect()
    assert len(budgets._budgets) == 0


def test_control_messages_count_in_their_part_in_their_token_and_in_the_total() -> None:
    budgets = TokenBudgets(MemoryBudget(1000))
    token = budgets.of("laptop")
    output = OutputAccount(token.control, lambda reason: None)
    output.update(300)
    assert (token.control.bytes, token.all.bytes, budgets.total.bytes) == (300, 300, 300)
    output.update(0)
    assert (token.control.bytes, token.all.bytes, budgets.total.bytes) == (0, 0, 0)


def test_a_tenant_with_one_large_link_is_not_ended_for_one_with_many_small_ones() -> None:
    budgets = TokenBudgets(MemoryBudget(1000))
    ended: list[str] = []
    honest, greedy = budgets.of("honest"), budgets.of("greedy")
    large = OutputAccount(honest.all, lambda reason: ended.append(f"honest: {reason}"))
    many = [OutputAccount(greedy.all, lambda reason: ended.append(f"greedy: {reason}")) for _ in range(10)]
    large.update(300)
    for account in many:
        account.update(90)
    assert len(ended) == 3
    assert all(reason.startswith("greedy: 90 bytes are unread by the agent") for reason in ended)
    assert budgets.total.bytes == 930
    assert large.bytes == 300
