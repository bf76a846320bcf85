"""Visitors for whom there is no place: a truthful answer, and a reset when even that costs too much."""

from collections.abc import Callable

from portway.server.edge.http.settings import HttpEdgeSettings
from tests.server.edge.http.kit import Caller, Origin, Stage


def test_a_visitor_over_the_cap_hears_503_whatever_it_sends(stage_with: Callable[[HttpEdgeSettings], Stage], origin: Origin) -> None:
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


def test_apologies_are_bounded_in_number_and_time(stage_with: Callable[[HttpEdgeSettings], Stage]) -> None:
    stage = stage_with(HttpEdgeSettings(visitors_max=1, linger_s=0.5))
    most = stage.edge._apologies._at_a_time_max = 3

    def story() -> None:
        callers = [stage.caller() for _ in range(1 + 2 * most)]
        stage.eventually(lambda: len(stage.edge._apologies) == most)
        outcomes = [outcome(caller) for caller in callers[1:]]
        assert sorted(outcomes) == ["reset"] * most + ["told"] * most
        stage.eventually(lambda: not len(stage.edge._apologies), "silent ones are closed")
        for caller in callers:
            caller.sock.close()

    stage.play(story)


def outcome(caller: Caller) -> str:
    try:
        return "told" if caller.answer().code == "overloaded" else "?"
    except ConnectionResetError:
        return "reset"
