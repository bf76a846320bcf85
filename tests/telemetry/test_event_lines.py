"""Events as JSON, one per line, even with hostile text."""

import json
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from portway.telemetry.event_lines import event_line, event_name, json_line, timestamp


@dataclass(frozen=True)
class TunnelUp:
    tunnel: int
    url: str


@dataclass(frozen=True)
class Done:
    pass


def test_a_line_has_name_time_and_fields_of_an_event() -> None:
    line = event_line(TunnelUp(7, "http://app.localhost:8080"), 1795255200.1239)

    assert json.loads(line) == {
        "event": "tunnel_up",
        "time": "2026-11-21T10:00:00.123Z",
        "tunnel": 7,
        "url": "http://app.localhost:8080",
    }


def test_names_are_snake_case() -> None:
    assert (event_name(Done()), event_name(TunnelUp(1, ""))) == ("done", "tunnel_up")


def test_times_are_utc_to_the_millisecond() -> None:
    assert timestamp(0.0) == "1970-01-01T00:00:00.000Z"


@given(st.text(st.characters()))
def test_hostile_text_stays_in_one_line_and_is_decoded_unchanged(text: str) -> None:
    line = json_line({"path": text})

    assert len(line.splitlines()) == 1
    assert not any("\x7f" <= char <= "\x9f" or char < " " for char in line)
    assert json.loads(line)["path"] == text.encode("utf-8", "backslashreplace").decode()
