"""The state behind `portway status`."""

import json

from portway.engine.tally import Flow
from portway.forward.events import ClientDone, Listening
from portway.forward.outcomes import Outcome
from portway.forward.status import ForwardStatusTracker


def test_results_and_bytes_are_counted() -> None:
    status = ForwardStatusTracker(lambda: 5.0)
    status(Listening("127.0.0.1:8080", tls=False, users=False))
    for result, flow in (
        (Outcome.ESTABLISHED, Flow(10, 1, "ended")),
        (Outcome.ESTABLISHED, Flow(5, 1, "ended")),
        (Outcome.FORBIDDEN, None),
    ):
        status(ClientDone("x", result, "http", 1.0, flow, flow, ""))
    found = json.loads(status.to_json())
    assert (found["program"], found["address"], found["since"]) == ("proxy", "127.0.0.1:8080", 5.0)
    assert (found["results"], found["bytes_up"], found["bytes_down"]) == ({"established": 2, "forbidden": 1}, 15, 15)
