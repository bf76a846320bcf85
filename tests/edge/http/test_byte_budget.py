"""The memory of all requests is bounded: the largest source first drops what it can spare, then the rest."""

import socket
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from portway.edge.http.byte_budget import ByteBudget
from portway.edge.http.settings import HttpEdgeSettings
from tests.edge.http.kit import Caller, Origin, Request, Stage, chunked, say
from tests.kit.loops import EngineLoop

Make = Callable[[HttpEdgeSettings], Stage]

PADDING = b"".join(b"X-Padding-%d: %b\r\n" % (number, b"v" * 400) for number in range(24))
HEAD = b"GET /%d HTTP/1.1\r\nHost: a.localhost\r\n" + PADDING + b"\r\n"
BUDGET = 10 * len(HEAD)
CROWD = 30


@dataclass(eq=False)
class Connection:
    """A keeper that the test controls."""

    budget: ByteBudget
    address: str
    needed: int
    """Bytes that `drop_optional` keeps."""
    over: bool = False

    def drop_optional(self) -> None:
        self.budget.count(self, self.needed)

    def evict(self) -> None:
        self.over = True
        self.budget.count(self, 0)


def test_the_source_with_the_most_bytes_pays_first_longest_without_progress_first(engine: EngineLoop) -> None:
    budget = ByteBudget(engine.reactor, 1600)
    calm = Connection(budget, "192.0.2.1", 100)
    flood = [Connection(budget, "192.0.2.2", 100) for _ in range(20)]
    budget.count(calm, 100)
    for one in flood:
        budget.count(one, 100)
        budget.count(flood[0], 100)  # which goes on, and so is the last to go
    engine.settle()
    assert [one.over for one in flood] == [False, *[True] * 6, *[False] * 13]
    assert not calm.over
    assert budget.bytes == 1500


def test_needed_bytes_stay_while_others_can_spare_enough(engine: EngineLoop) -> None:
    budget = ByteBudget(engine.reactor, 1600)
    poor = [Connection(budget, "192.0.2.1", 100) for _ in range(10)]
    rich = [Connection(budget, "192.0.2.1", 10) for _ in range(10)]
    for one in (*poor, *rich):
        budget.count(one, 100)
    engine.settle()
    assert not any(one.over for one in (*poor, *rich))
    assert budget.bytes <= 1500


def test_within_its_bound_nothing_is_dropped(engine: EngineLoop) -> None:
    budget = ByteBudget(engine.reactor, 1600)
    crowd = [Connection(budget, "192.0.2.1", 0) for _ in range(16)]
    for one in crowd:
        budget.count(one, 100)
    engine.settle()
    assert budget.bytes == 1600


@hypothesis_settings(max_examples=60)
@given(steps=st.lists(st.tuples(st.integers(0, 9), st.integers(0, 400)), max_size=60))
def test_the_sum_is_what_is_kept_and_within_the_bound_after_each_turn(steps: list[tuple[int, int]]) -> None:
    engine = EngineLoop()
    try:
        budget = ByteBudget(engine.reactor, 1000)
        crowd = [Connection(budget, f"192.0.2.{number % 3}", 30) for number in range(10)]
        for number, count in steps:
            budget.count(crowd[number], count)
            engine.settle()
            assert budget.bytes == sum(budget._counts.values()) <= 1000
    finally:
        engine.close()


# ----------------------------------------------------------------------------------------------------- at the edge


def crowd_of(stage: Stage, stack: ExitStack) -> list[Caller]:
    return [stack.enter_context(stage.caller()) for _ in range(CROWD)]


def test_heads_that_do_not_end_are_refused_when_there_are_too_many(stage_with: Make, origin: Origin) -> None:
    stage = stage_with(HttpEdgeSettings(heads_bytes_max=BUDGET, head_s=60))
    stage.publish(origin)

    def story() -> None:
        with ExitStack() as stack:
            visitors = crowd_of(stage, stack)
            for number, visitor in enumerate(visitors):
                visitor.send((HEAD % number)[:-2])
            stage.eventually(lambda: stage.edge.heads.bytes > BUDGET // 2 and stage.edge.visitors < CROWD // 2)
            assert stage.on_loop(lambda: stage.edge.heads.bytes) <= BUDGET
            left = stage.on_loop(lambda: len(stage.edge._visitors))
            assert 6 <= left <= 10
            for visitor in visitors[: CROWD - left]:
                answer = visitor.answer()
                assert (answer.status, answer.code) == (503, "overloaded")
            for number, visitor in enumerate(visitors[CROWD - left :], CROWD - left):
                visitor.send(b"\r\n")
                assert visitor.answer().body == b"/%d" % number
            assert stage.on_loop(lambda: stage.edge.heads.bytes) == 0

    stage.play(story)


def test_requests_that_wait_for_answers_lose_nothing_but_their_second_attempt(stage_with: Make, origin: Origin) -> None:
    stage = stage_with(HttpEdgeSettings(heads_bytes_max=BUDGET))
    agent = stage.publish(origin)
    agent.silent = True
    opened: list[Callable[[], None]] = []
    visit = agent._visit
    agent._visit = lambda header, channel: opened.append(lambda: visit(header, channel))  # type: ignore[method-assign]

    def go_on() -> None:
        agent.silent = False
        for one in opened:
            one()

    def story() -> None:
        with ExitStack() as stack:
            visitors = crowd_of(stage, stack)
            for number, visitor in enumerate(visitors):
                visitor.send(HEAD % number)
            stage.eventually(lambda: len(opened) == CROWD and stage.edge.heads.bytes <= BUDGET)
            stage.on_loop(go_on)
            assert [visitor.answer().body for visitor in visitors] == [b"/%d" % number for number in range(CROWD)]
            assert stage.on_loop(lambda: stage.edge.heads.bytes) == 0

    stage.play(story)
    assert all(len(request.all("x-padding-23")) == 1 for request in origin.requests)


def test_a_request_that_was_spared_is_not_sent_again(stage_with: Make, origin: Origin) -> None:
    stage = stage_with(HttpEdgeSettings(heads_bytes_max=1000))
    agent = stage.publish(origin)
    agent.silent = True

    def story() -> None:
        with stage.caller() as visitor:
            visitor.send(HEAD % 1)
            stage.eventually(lambda: agent.opened == 1 and stage.edge.heads.bytes == 0)
            stage.on_loop(agent.die)
            assert visitor.answer().code in ("origin_closed", "agent_offline")

    stage.play(story)
    assert agent.opened == 1


def test_requests_that_wait_for_their_agent_are_refused_when_they_keep_too_much(stage_with: Make, origin: Origin) -> None:
    stage = stage_with(HttpEdgeSettings(heads_bytes_max=BUDGET, hold_s=60))
    agent = stage.publish(origin)

    def story() -> None:
        stage.on_loop(lambda: stage.lose(agent))
        with ExitStack() as stack:
            visitors = crowd_of(stage, stack)
            for number, visitor in enumerate(visitors):
                visitor.send(HEAD % number)
                stage.eventually(lambda number=number: stage.edge.held == number + 1 or stage.edge.held >= 8)  # type: ignore[misc]
            stage.eventually(lambda: stage.edge.held <= 10)
            assert visitors[0].answer().code == "agent_offline"
            stage.on_loop(lambda: stage.publish(origin))
            assert visitors[-1].answer().body == b"/%d" % (CROWD - 1)

    stage.play(story)


def test_what_follows_a_request_counts_too(stage_with: Make, origin: Origin) -> None:
    stage = stage_with(HttpEdgeSettings(heads_bytes_max=BUDGET))
    agent = stage.publish(origin)
    agent.silent = True
    ask = b"GET / HTTP/1.1\r\nHost: a.localhost\r\n\r\n"

    def story() -> None:
        with ExitStack() as stack:
            for visitor in crowd_of(stage, stack):
                visitor.send(ask + HEAD % 1)
            stage.eventually(lambda: 0 < stage.edge.heads.bytes <= BUDGET and stage.edge.visitors <= 10)

    stage.play(story)


def test_unread_responses_are_broken_when_they_buffer_too_much(stage_with: Make) -> None:
    stage = stage_with(HttpEdgeSettings(unread_bytes_max=400_000))

    def pour(_request: Request, sock: socket.socket) -> bytes | None:
        sock.sendall(chunked([], end=False))
        while True:
            sock.sendall(b"10000\r\n" + bytes(65536) + b"\r\n")

    def story() -> None:
        with ExitStack() as stack:
            readers = [stack.enter_context(stage.caller(16 * 1024)) for _ in range(CROWD)]
            for reader in readers:
                reader.send(b"GET / HTTP/1.1\r\nHost: a.localhost\r\n\r\n")
            stage.eventually(lambda: stage.edge.visitors < CROWD)
            assert stage.on_loop(lambda: stage.edge.unread.bytes) <= 400_000
            assert any(was_reset(reader) for reader in readers)

    with Origin(pour) as origin:
        stage.publish(origin)
        stage.play(story)


def was_reset(visitor: Caller) -> bool:
    visitor.sock.setblocking(False)
    try:
        while visitor.sock.recv(1 << 18):
            pass
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True
    return False


@pytest.mark.parametrize("body", [b"hello", b"x" * 100_000])
def test_short_heads_and_answers_that_are_read_are_not_counted(stage_with: Make, body: bytes) -> None:
    stage = stage_with(HttpEdgeSettings(heads_bytes_max=1, unread_bytes_max=1))

    def story() -> None:
        with stage.caller() as visitor:
            for _ in range(3):
                assert visitor.get().body == body

    with Origin(lambda _request, _sock: say(body)) as origin:
        stage.publish(origin)
        stage.play(story)
    assert stage.edge.heads.bytes == stage.edge.unread.bytes == 0
