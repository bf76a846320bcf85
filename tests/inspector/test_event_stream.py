"""`/api/events`: what happens, what was missed, and clearing."""

import http.client
import json
import time
from pathlib import Path
from typing import Any

from portway.inspector import event_stream
from portway.inspector.hub import Hub
from tests.kit.inspected import Inspected, RecordingOrigin, inspected


class Events:
    """An open event stream."""

    def __init__(self, world: Inspected, path: str = "/api/events", **headers: str) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", world.api_port, timeout=10)
        self.connection.request("GET", path, headers={"Authorization": f"Bearer {world.key}"} | headers)
        self.response = self.connection.getresponse()
        assert (self.response.status, self.response.getheader("Content-Type")) == (200, "text/event-stream; charset=utf-8")

    def next(self, state: str = "") -> tuple[str, int, dict[str, Any]]:
        """Return kind, id and document of the next event, or of the next one in that state."""
        fields: dict[str, str] = {}
        while line := self.response.readline().decode().rstrip("\n") or ("event" not in fields and "\n"):
            name, _, value = str(line).partition(": ")
            fields[name] = value
        found = fields["event"], int(fields["id"]), json.loads(fields["data"])
        return found if not state or found[2].get("state") == state else self.next(state)

    def close(self) -> None:
        self.connection.close()


def test_events_come_live_and_from_the_last_one_known(tmp_path: Path) -> None:
    with RecordingOrigin() as origin, inspected(tmp_path, origin.port) as world:
        world.visit(path="/before")
        world.requests()
        stream = Events(world)
        world.visit(path="/one")
        kind, number, summary = stream.next("done")
        assert (kind, summary["target"], summary["change"]) == ("request", "/one", number)
        stream.close()
        world.visit(path="/two")
        world.visit(path="/three")
        world.requests(4)

        again = Events(world, **{"Last-Event-ID": str(number)})
        assert [again.next("done")[2]["target"] for _ in range(2)] == ["/two", "/three"]
        again.close()
        everything = Events(world, "/api/events?after=0&path=/t")
        assert [everything.next("done")[2]["target"] for _ in range(2)] == ["/two", "/three"]

        world.api("DELETE", "/api/requests")
        assert everything.next()[0] == "cleared"
        everything.close()
        late = Events(world, **{"Last-Event-ID": str(number)})
        assert late.next()[0] == "cleared"
        late.close()


def test_a_number_of_another_store_means_from_now_on(tmp_path: Path) -> None:
    with RecordingOrigin() as origin, inspected(tmp_path, origin.port) as world:
        stream = Events(world, **{"Last-Event-ID": "999999"})
        world.visit(path="/one")
        assert stream.next("done")[2]["target"] == "/one"
        stream.close()


def test_the_number_of_streams_is_bounded_and_they_end_with_the_agent(tmp_path: Path) -> None:
    with RecordingOrigin() as origin, inspected(tmp_path, origin.port) as world:
        streams = [Events(world) for _ in range(event_stream.CLIENTS_MAX)]
        for stream in streams:
            stream.response.readline()
        assert world.api("GET", "/api/events").status == 503
        began = time.monotonic()
    assert time.monotonic() - began < 6
    for stream in streams:
        stream.close()


def test_a_hub_without_streams_is_silent() -> None:
    hub = Hub()
    hub.notify()
    hub.close()

    assert (len(hub), hub.closed) == (0, True)
