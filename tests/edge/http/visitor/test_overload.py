"""Visitors above capacity: an error response, and a reset if even that costs too much."""

from collections.abc import Callable
from contextlib import ExitStack

from portway.edge.http.settings import HttpEdgeSettings
from tests.edge.http.kit import Origin, Stage


def test_a_visitor_over_the_cap_gets_503_whatever_it_sends(stage_with: Callable[[HttpEdgeSettings], Stage], origin: Origin) -> None:
    stage = stage_with(HttpEdgeSettings(visitors_max=1))
    stage.publish(origin)

    def story() -> None:
        with stage.caller() as first, stage.caller() as second:
            assert first.get("/").status == 200
            second.send(b"POST / HTTP/1.1\r\nHost: a.localhost\r\nContent-Length: 200000\r\n\r\n" + bytes(200_000))
            heard = second.answer("POST")
            assert (heard.status, heard.code, heard.headers["connection"]) == (503, "overloaded", "close")
            assert int(heard.headers["retry-after"]) > 0
            assert second.rest() == b"", "an end, no reset that could overtake the answer"
            assert first.get("/again").status == 200, "who has a place keeps it"

    stage.play(story)


def test_overload_responses_are_bounded_and_shared_by_sources(stage_with: Callable[[HttpEdgeSettings], Stage]) -> None:
    stage = stage_with(HttpEdgeSettings(visitors_max=1, overload_response_s=60))
    most = stage.edge._overload._responses_max = 4

    def story() -> None:
        with ExitStack() as open_callers, stage.caller():
            stage.eventually(lambda: stage.edge.visitors == 1)
            outcomes = [outcome(stage, open_callers) for _ in range(most)]
            assert outcomes == ["told", "told", "reset", "reset"], "half of them, and the rest is for others"
            outcomes = [outcome(stage, open_callers, f"127.0.0.{number}") for number in (2, 2, 3, 4)]
            assert outcomes == ["told", "reset", "told", "reset"]
            assert stage.on_loop(lambda: len(stage.edge._overload)) == most
        stage.eventually(lambda: not len(stage.edge._overload), "who leaves makes room")

    stage.play(story)


def test_an_overload_response_to_a_silent_visitor_ends(stage_with: Callable[[HttpEdgeSettings], Stage]) -> None:
    stage = stage_with(HttpEdgeSettings(visitors_max=1, overload_response_s=0.3))

    def story() -> None:
        with ExitStack() as open_callers, stage.caller():
            stage.eventually(lambda: stage.edge.visitors == 1)
            assert outcome(stage, open_callers) == "told"
            stage.eventually(lambda: not len(stage.edge._overload), "the silent one is closed")

    stage.play(story)


def outcome(stage: Stage, open_callers: ExitStack, source: str = "127.0.0.1") -> str:
    """Connect, and return the outcome; a reset may arrive before `connect` returns."""
    try:
        caller = open_callers.enter_context(stage.caller(source=source))
        return "told" if caller.answer().code == "overloaded" else "?"
    except ConnectionResetError:
        return "reset"
